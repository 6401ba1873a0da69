# SPDX-License-Identifier: Apache-2.0
"""A devicetree and the arithmetic on it: cells, addresses, interrupts. No I/O."""
