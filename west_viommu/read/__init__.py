# SPDX-License-Identifier: Apache-2.0
"""From files to trees: blobs, devicetree source, /proc/device-tree, profiles."""
