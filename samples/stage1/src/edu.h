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

/** How many bytes edu_copy() takes at most. */
#define EDU_COPY_MAX 2048

/** Map the device, place its registers, and connect its interrupt. @return whether it is there */
bool edu_init(void);

/**
 * Let the device read @p size bytes at @p source into its buffer and write them to @p target: both
 * are addresses as the device sees them.
 * @return whether it said that it is done; not whether any byte moved
 */
bool edu_copy(uint64_t source, uint64_t target, size_t size);

#endif /* EDU_H_ */
