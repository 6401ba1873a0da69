# SPDX-License-Identifier: Apache-2.0
# Included early, and on a sysbuild build once more for sysbuild itself. The board, the overlays and
# the compiler are not known yet: so do nothing but go first in line for include(dts).
get_filename_component(VIOMMU_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR}/../cmake ABSOLUTE)
list(REMOVE_ITEM CMAKE_MODULE_PATH ${VIOMMU_CMAKE_DIR})
list(PREPEND CMAKE_MODULE_PATH ${VIOMMU_CMAKE_DIR})

# Of a sysbuild, all images have been configured once its own CMakeLists.txt has been read.
if(DEFINED sysbuild_toplevel_SOURCE_DIR)
  include(${VIOMMU_CMAKE_DIR}/system.cmake)
  cmake_language(DEFER CALL viommu_check_system)
endif()
