# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's side: the guest that it makes, and its use of a host tree. No I/O."""
