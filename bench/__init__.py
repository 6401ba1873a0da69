# SPDX-License-Identifier: Apache-2.0
"""`make bench`: how fast west-viommu is beside its peers (README.md). No part of the package."""
