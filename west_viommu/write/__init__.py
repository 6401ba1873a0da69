# SPDX-License-Identifier: Apache-2.0
"""Plans and inventories as text, and text as files, written atomically."""
