/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * @brief Stage 1 of the vSMMU: a passthrough device reaches memory by mapped addresses alone.
 */
#ifndef VIOMMU_STAGE1_H_
#define VIOMMU_STAGE1_H_

#include <stddef.h>
#include <stdint.h>

#include <viommu/devicetree.h>

/**
 * @defgroup viommu_stage1 Stage 1 of a vSMMU
 *
 * Each device that has streams behind the vSMMU has page tables of its own, by which it reaches
 * memory at addresses ("IOVAs") that the guest chooses. Map what the device needs, then attach the
 * device: until then, Xen lets its DMA go by the guest's own physical addresses, and QEMU's SMMU
 * lets nothing pass.
 *
 * Any stream of a device names the device. The functions may be called from every context but an
 * NMI; they wait for the SMMU with interrupts locked.
 *
 * @{
 */

/** @brief Size of the pages that are mapped. */
#define VIOMMU_STAGE1_PAGE_SIZE 4096

/** @brief The first address that cannot be mapped for a device. */
#define VIOMMU_STAGE1_IOVA_END (1ULL << 39)

/** @brief A transaction that the vSMMU did not let through. */
struct viommu_stage1_fault {
	/** The path of the device's node, or NULL if the devicetree has no such stream. */
	const char *node;
	/** The address that the device used. */
	uint64_t address;
	/** The stream ID (vMasterID). */
	uint32_t stream_id;
	/**
	 * The type of the event, section 7.3 of Arm IHI 0070: 0x10 is F_TRANSLATION, nothing is
	 * mapped at the address; 0x04 is C_BAD_STE, the device is not attached.
	 */
	uint8_t type;
};

/**
 * @brief Called in an interrupt for each fault of a device.
 *
 * Xen of AMD (2023.2) hands no fault on to its guest, but logs it itself.
 */
typedef void (*viommu_stage1_fault_cb_t)(const struct viommu_stage1_fault *fault, void *user_data);

/**
 * @brief Let the page tables of a device count for all of its streams.
 *
 * A device stays attached. Where the hypervisor has one setting for each device (the property
 * viommu,stage1-settings of the vSMMU's binding), one entry of the stream table is written: a
 * second one for a device stops AMD's Xen of 2023.2.
 *
 * @param spec      a stream of the device
 * @param callback  called for each fault of the device, or NULL
 * @param user_data what the callback gets
 *
 * @retval 0         the device reaches what is mapped, and nothing else
 * @retval -EALREADY the device is attached, by this or another of its streams
 * @retval -ENODEV   the vSMMU did not start (the log has the reason), or the devicetree has no such
 *                   stream behind it
 * @retval -EIO      the vSMMU does not answer
 */
int viommu_stage1_attach(const struct viommu_dt_spec *spec, viommu_stage1_fault_cb_t callback,
			 void *user_data);

/**
 * @brief Let a device read and write memory of the guest.
 *
 * The device sees whole pages: nothing else may be in them.
 *
 * @param spec     a stream of the device
 * @param iova     address for the device, below VIOMMU_STAGE1_IOVA_END
 * @param physical guest-physical address of the memory
 * @param size     size in bytes
 *
 * @retval 0       all of the range is mapped; otherwise, none of it has changed
 * @retval -EINVAL an address or the size is not a multiple of VIOMMU_STAGE1_PAGE_SIZE, the size
 *                 is 0, or the range ends too far
 * @retval -EEXIST a page of the range is mapped already
 * @retval -ENOMEM no page table is left: CONFIG_VIOMMU_STAGE1_PAGE_TABLES
 * @retval -ENODEV as for viommu_stage1_attach()
 */
int viommu_stage1_map(const struct viommu_dt_spec *spec, uint64_t iova, uint64_t physical,
		      size_t size);

/**
 * @brief Take memory from a device again.
 *
 * @param spec a stream of the device
 * @param iova address for the device
 * @param size size in bytes
 *
 * @retval 0       the device no longer reaches the memory
 * @retval -EINVAL as for viommu_stage1_map()
 * @retval -ENOENT a page of the range is not mapped; nothing has changed
 * @retval -ENODEV as for viommu_stage1_attach()
 * @retval -EIO    the vSMMU does not answer, and the device may still reach the memory
 */
int viommu_stage1_unmap(const struct viommu_dt_spec *spec, uint64_t iova, size_t size);

/** @} */

#endif /* VIOMMU_STAGE1_H_ */
