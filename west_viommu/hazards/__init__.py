# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with an assignment: a table of checks over what each side holds. No I/O."""
