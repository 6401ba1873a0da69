# SPDX-License-Identifier: Apache-2.0
"""The guest nodes that ask for host devices. No I/O."""
