# SPDX-License-Identifier: Apache-2.0

# Ends a build whose host tree or settings are not what was bound. A build configures itself again when one
# of them is newer than its last configure; this finds an older one in its place.
file(STRINGS ${INPUTS} viommu_lines)
foreach(viommu_line ${viommu_lines})
  string(SUBSTRING "${viommu_line}" 0 64 viommu_sum)
  string(SUBSTRING "${viommu_line}" 65 -1 viommu_file)
  if(EXISTS ${viommu_file})
    file(SHA256 ${viommu_file} viommu_found)
    if(NOT viommu_found STREQUAL viommu_sum)
      file(TOUCH ${INPUTS})
      message(FATAL_ERROR "west-viommu: ${viommu_file} is not the file that was bound, and has an older "
                          "time. Build again: the devicetree is then configured anew.")
    endif()
  endif()
endforeach()
