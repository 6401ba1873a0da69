# SPDX-License-Identifier: Apache-2.0
# Gives VIOMMU_HOST_DTB: the tree of QEMU's virt machine with an SMMUv3, in the folder of the build.
# QEMU makes the tree itself; `devices`, a file of devicetree source, turns PCI functions into
# devices that the tree names.
function(qemu_host machine devices)
  set(host ${CMAKE_BINARY_DIR}/host.dts)
  set(dumped ${CMAKE_BINARY_DIR}/dumped.dtb)
  execute_process(
    COMMAND qemu-system-aarch64 -cpu cortex-a53 -m 1024 -nic none -display none
            -M ${machine},gic-version=3,iommu=smmuv3,dumpdtb=${dumped}
    COMMAND_ERROR_IS_FATAL ANY
  )
  execute_process(
    COMMAND dtc -q -I dtb -O dts -o ${host} ${dumped}
    COMMAND_ERROR_IS_FATAL ANY
  )
  file(READ ${devices} text)
  file(APPEND ${host} "${text}")
  set(VIOMMU_HOST_DTB ${host} PARENT_SCOPE)
endfunction()
