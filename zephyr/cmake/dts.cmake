# SPDX-License-Identifier: Apache-2.0
#
# Runs where Zephyr's own dts.cmake would (zephyr/modules/modules.cmake puts this folder first), and
# then runs that one, or the one of another module that is in line. What it adds:
#
# - Zephyr's devicetree preprocessor becomes zephyr/preprocess.py, which runs the real one and
#   appends the generated overlay to what it made
# - the generated bindings of the build are among the devicetree roots; they have ours as well where
#   the link zephyr/dts/bindings is none (git on Windows)
#
# It sees these, each from -D, the environment or set(), in this order:
#   VIOMMU_HOST_DTB  the host tree      VIOMMU_PROFILE  what the hypervisor gives a guest
#   VIOMMU_VSID      the vSID policy    VIOMMU_CONFIG   a viommu.yml elsewhere

list(REMOVE_ITEM CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})

# What Zephyr's dts.cmake includes first as well: it makes BOARD, PYTHON_EXECUTABLE and
# CMAKE_C_COMPILER final.
include(extensions)
include(python)
include(boards)
if(EXISTS ${ZEPHYR_BASE}/cmake/modules/FindHostTools.cmake)
  find_package(HostTools)
else()
  include(generic_toolchain) # Zephyr before 3.3
endif()

set(viommu_output ${CMAKE_BINARY_DIR}/viommu)
# The hook writes it again: zephyr/CMakeLists.txt looks whether the devicetree went through it.
file(REMOVE ${CMAKE_BINARY_DIR}/viommu_inputs.txt)

# A folder that viommu-bind wrote is no second source of the bindings generated here.
foreach(viommu_root ${DTS_ROOT})
  if(EXISTS ${viommu_root}/viommu.json)
    list(REMOVE_ITEM DTS_ROOT ${viommu_root})
  endif()
endforeach()

# Zephyr looks whether these exist before the preprocessor runs, which fills them.
file(MAKE_DIRECTORY ${viommu_output}/dts/bindings)
file(TOUCH ${viommu_output}/dts/bindings/vendor-prefixes.txt)
list(APPEND DTS_ROOT ${viommu_output})

if(EXISTS ${ZEPHYR_BASE}/cmake/modules/pre_dt.cmake)
  include(pre_dt)
  set(viommu_roots ${DTS_ROOT})
else()
  set(viommu_roots ${DTS_ROOT} ${APPLICATION_SOURCE_DIR} ${BOARD_DIR} ${SHIELD_DIRS} ${ZEPHYR_BASE})
endif()

# What an earlier configure generated is no binding that the build has already.
list(REMOVE_ITEM viommu_roots ${viommu_output})

# For west viommu-bind -d.
file(WRITE ${CMAKE_BINARY_DIR}/viommu_dts_roots.txt "${viommu_roots}")

set(viommu_arguments --zephyr-base ${ZEPHYR_BASE} --app ${APPLICATION_SOURCE_DIR}
                     --output ${viommu_output})
if(WEST_TOPDIR)
  list(APPEND viommu_arguments --workspace ${WEST_TOPDIR})
endif()
foreach(viommu_root ${viommu_roots})
  list(APPEND viommu_arguments --dts-root ${viommu_root})
endforeach()

# One that is nearly one of these would count for nothing, and another host be taken.
get_cmake_property(viommu_cached CACHE_VARIABLES)
foreach(viommu_variable ${viommu_cached})
  string(TOUPPER ${viommu_variable} viommu_upper)
  if(viommu_upper MATCHES "^VIOMMU_(HOST|DTB|DTS|PROFIL|VSID|CONF|YA?ML|XEN)" AND
     NOT viommu_variable MATCHES "^VIOMMU_(HOST_DTB|PROFILE|VSID|CONFIG)$")
    message(FATAL_ERROR "west-viommu: nothing reads ${viommu_variable}. The variables are "
                        "VIOMMU_HOST_DTB (the host tree), VIOMMU_PROFILE, VIOMMU_VSID and "
                        "VIOMMU_CONFIG; take the other out of the cache with "
                        "-U${viommu_variable}, or build pristine.")
  endif()
endforeach()

foreach(viommu_option HOST_DTB PROFILE VSID CONFIG)
  set(viommu_variable VIOMMU_${viommu_option})
  if(COMMAND zephyr_get)
    zephyr_get(${viommu_variable})
  elseif(DEFINED CACHE{${viommu_variable}})
    set(${viommu_variable} $CACHE{${viommu_variable}})
  elseif(DEFINED ENV{${viommu_variable}})
    set(${viommu_variable} $ENV{${viommu_variable}})
  endif()
  if("${${viommu_variable}}" MATCHES "([][;])")
    message(FATAL_ERROR "west-viommu: CMake cannot pass on the '${CMAKE_MATCH_1}' in ${viommu_variable}: "
                        "${${viommu_variable}}. Rename the file or its folder.")
  endif()
  if(NOT "${${viommu_variable}}" STREQUAL "")
    string(TOLOWER ${viommu_option} viommu_option)
    list(APPEND viommu_arguments --${viommu_option} ${${viommu_variable}})
  endif()
endforeach()

# For west viommu-system -d: what is given to one build alone is in no file.
file(WRITE ${CMAKE_BINARY_DIR}/viommu_host.txt "${VIOMMU_HOST_DTB}")

if(NOT DEFINED CMAKE_DTS_PREPROCESSOR)
  set(CMAKE_DTS_PREPROCESSOR ${CMAKE_C_COMPILER})
endif()
# Left set afterwards: later Zephyrs run the preprocessor only after include(dts).
set(CMAKE_DTS_PREPROCESSOR ${PYTHON_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/../preprocess.py
                           ${viommu_arguments} -- ${CMAKE_DTS_PREPROCESSOR})

include(dts)
