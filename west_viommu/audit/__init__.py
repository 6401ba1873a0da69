# SPDX-License-Identifier: Apache-2.0
"""Whether a set of files for Xen that somebody else wrote gives what its devices have. No I/O."""
