# SPDX-License-Identifier: Apache-2.0
"""Reads trees and profiles from files: blobs, devicetree source, /proc/device-tree."""
