/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * QEMU's educational device, a DMA engine with a buffer of its own (docs/specs/edu.txt of QEMU).
 */
#ifndef EDU_H_
#define EDU_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zephyr/devicetree.h>
#include <zephyr/sys/device_mmio.h>

/** How many bytes edu_copy() takes at most. */
#define EDU_COPY_MAX 2048

/** A device: its registers, and the page of its PCI configuration space. */
struct edu {
	uintptr_t address;
	size_t size;
	uintptr_t config;
	mm_reg_t registers;
};

/** Initializer of a struct edu. */
#define EDU_DT_GET(node_id)                                                                        \
	{                                                                                          \
		.address = DT_REG_ADDR_BY_IDX(node_id, 0),                                         \
		.size = DT_REG_SIZE_BY_IDX(node_id, 0),                                            \
		.config = DT_REG_ADDR_BY_IDX(node_id, 1),                                          \
	}

/** Map the device and place its registers. @return whether the device is there */
bool edu_init(struct edu *edu);

/**
 * Let the device read @p size bytes at @p source into its buffer and write them to @p target: both
 * are addresses as the device sees them.
 * @return whether the device ended; not whether any byte moved
 */
bool edu_copy(const struct edu *edu, uint64_t source, uint64_t target, size_t size);

#endif /* EDU_H_ */
