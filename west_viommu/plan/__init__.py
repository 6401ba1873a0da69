# SPDX-License-Identifier: Apache-2.0
"""Which host device each request means, and the IDs that the guest will use. No I/O."""
