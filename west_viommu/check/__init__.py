# SPDX-License-Identifier: Apache-2.0
"""Whether a built tree, its plan and the hypervisor's tree for the guest still agree. No I/O."""
