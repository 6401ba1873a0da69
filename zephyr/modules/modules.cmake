# SPDX-License-Identifier: Apache-2.0
# Included early, and on a sysbuild build once more for sysbuild itself. The board, the overlays and
# the compiler are not known yet: so do nothing but go first in line for include(dts).
get_filename_component(VIOMMU_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR}/../cmake ABSOLUTE)
list(REMOVE_ITEM CMAKE_MODULE_PATH ${VIOMMU_CMAKE_DIR})
list(PREPEND CMAKE_MODULE_PATH ${VIOMMU_CMAKE_DIR})
