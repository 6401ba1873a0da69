# SPDX-License-Identifier: Apache-2.0

# Sets `result` to whether `image` is a variant of another of the `images`, for the other slot of a boot
# loader, and so the same guest: it has the devicetree of that image as its source, as Zephyr after 4.3
# does it, or its property says so, as sdk-nrf's; and both have the same devices.
function(viommu_is_variant result image images)
  set(${result} FALSE PARENT_SCOPE)
  get_target_property(viommu_own ${image} _EP_BINARY_DIR)
  get_target_property(viommu_named ${image} NCS_VARIANT_APPLICATION)
  file(READ ${viommu_own}/viommu/viommu.json viommu_json)
  string(JSON viommu_devices GET "${viommu_json}" devices)
  foreach(viommu_other ${images})
    get_target_property(viommu_build ${viommu_other} _EP_BINARY_DIR)
    string(FIND "${${image}_DTS_SOURCE}" "${viommu_build}/" viommu_at)
    if(EXISTS ${viommu_build}/viommu/viommu.json AND NOT viommu_other STREQUAL image AND
       (viommu_at EQUAL 0 OR viommu_other STREQUAL viommu_named))
      file(READ ${viommu_build}/viommu/viommu.json viommu_json)
      string(JSON viommu_of_other GET "${viommu_json}" devices)
      if(viommu_devices STREQUAL viommu_of_other)
        set(${result} TRUE PARENT_SCOPE)
      endif()
    endif()
  endforeach()
endfunction()

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
      viommu_is_variant(viommu_is_no_guest ${viommu_image} "${viommu_images}")
      if(NOT viommu_is_no_guest)
        list(APPEND viommu_guests ${viommu_image})
        list(APPEND viommu_builds ${viommu_build})
      endif()
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
