# SPDX-License-Identifier: Apache-2.0
"""What the host tree says: IOMMUs, masters, their stream IDs, who shares what. No I/O."""
