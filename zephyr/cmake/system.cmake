# SPDX-License-Identifier: Apache-2.0

# Refuses a sysbuild of several guests of one host that would have the same of it: what two images have
# both, neither of their own builds can know.
function(viommu_check_system)
  get_property(viommu_images GLOBAL PROPERTY sysbuild_images)
  set(viommu_guests)
  foreach(viommu_image ${viommu_images})
    get_target_property(viommu_build ${viommu_image} _EP_BINARY_DIR)
    if(EXISTS ${viommu_build}/viommu/viommu.json)
      list(APPEND viommu_guests ${viommu_build})
    endif()
  endforeach()
  list(LENGTH viommu_guests viommu_count)
  if(viommu_count LESS 2)
    return()
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env ZEPHYR_BASE=${ZEPHYR_BASE}
            ${PYTHON_EXECUTABLE} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../viommu.py
            check --system ${viommu_guests}
    RESULT_VARIABLE viommu_status
    OUTPUT_VARIABLE viommu_said
    ERROR_VARIABLE viommu_wrong
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE
  )
  if(viommu_status)
    message(FATAL_ERROR "The images cannot be guests of one host together:\n${viommu_wrong}")
  endif()
  if(viommu_wrong)
    message("${viommu_wrong}")
  endif()
  message(STATUS "viommu: ${viommu_said}")
endfunction()
