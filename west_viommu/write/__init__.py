# SPDX-License-Identifier: Apache-2.0
"""From a plan or an inventory to text, and text to files, atomically."""
