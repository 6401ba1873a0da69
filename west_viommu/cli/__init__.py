# SPDX-License-Identifier: Apache-2.0
"""The commands: one definition of arguments for `viommu NAME` and `west viommu-NAME`."""
