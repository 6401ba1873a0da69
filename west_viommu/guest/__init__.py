# SPDX-License-Identifier: Apache-2.0
"""The passthrough requests of a guest's tree, and the guest's GIC. No I/O."""
