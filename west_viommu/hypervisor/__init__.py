# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor gives a guest, and what it does with a tree. No I/O."""
