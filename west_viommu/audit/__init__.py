# SPDX-License-Identifier: Apache-2.0
"""The comparison of other people's files for Xen with the devices of a host. No I/O."""
