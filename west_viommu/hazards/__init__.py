# SPDX-License-Identifier: Apache-2.0
"""The hazards of an assignment: a table of checks over the resources of guest, host and Xen. No
I/O.
"""
