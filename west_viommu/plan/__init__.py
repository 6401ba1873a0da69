# SPDX-License-Identifier: Apache-2.0
"""The host device that each request means, and the IDs that the guest will use. No I/O."""
