# SPDX-License-Identifier: Apache-2.0
"""What Xen does with a partial devicetree, written down a second time to judge what we write."""
