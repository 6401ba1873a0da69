# SPDX-License-Identifier: Apache-2.0
"""The comparison of a built tree with its plan and with the hypervisor's tree. No I/O."""
