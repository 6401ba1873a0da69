# SPDX-License-Identifier: Apache-2.0
"""From a host device to the guest node that asks for it. No I/O."""
