# SPDX-License-Identifier: Apache-2.0
"""The facts of the host tree: IOMMUs, masters, their stream IDs, and what they share. No I/O."""
