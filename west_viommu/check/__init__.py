# SPDX-License-Identifier: Apache-2.0
"""Whether a tree that was built, its plan and what the hypervisor gave still agree. No I/O."""
