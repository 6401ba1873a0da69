# SPDX-License-Identifier: Apache-2.0

# Refuses a sysbuild of several guests of one host that would have the same of it: what two images have
# both, neither of their own builds can know. Once at the end of the configuration, and after each build of
# the images, which configure themselves anew where their devicetree has changed.
function(viommu_check_system)
  get_property(viommu_images GLOBAL PROPERTY sysbuild_images)
  set(viommu_guests)
  set(viommu_builds)
  foreach(viommu_image ${viommu_images})
    get_target_property(viommu_build ${viommu_image} _EP_BINARY_DIR)
    if(EXISTS ${viommu_build}/viommu/viommu.json)
      list(APPEND viommu_guests ${viommu_image})
      list(APPEND viommu_builds ${viommu_build})
    endif()
  endforeach()
  list(LENGTH viommu_guests viommu_count)
  if(viommu_count LESS 2)
    return()
  endif()
  set(viommu_command
    ${CMAKE_COMMAND} -E env ZEPHYR_BASE=${ZEPHYR_BASE}
    ${PYTHON_EXECUTABLE} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../viommu.py
    check --system ${viommu_builds}
  )
  execute_process(
    COMMAND ${viommu_command}
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
  add_custom_target(viommu_system ALL COMMAND ${viommu_command} VERBATIM)
  add_dependencies(viommu_system ${viommu_guests})
endfunction()
