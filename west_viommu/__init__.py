# SPDX-License-Identifier: Apache-2.0
"""The virtual SMMUv3 of a Zephyr guest of Xen, bound to host stream IDs at build time."""

__version__ = "0.3.0"
