/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Stage 1 of an SMMUv3 for one device: the device reaches memory only by addresses that are mapped
 * here. Names and numbers are those of Arm IHI 0070, the SMMUv3 architecture.
 *
 * It needs register access and barriers and nothing else of Zephyr, so that tests/xen can run the
 * same code without.
 */
#ifndef STAGE1_H_
#define STAGE1_H_

#include <stdbool.h>
#include <stdint.h>

#include <zephyr/sys/sys_io.h>

#define STAGE1_PAGE_SIZE 4096

/** The device's addresses ("IOVAs") go from here, for as many pages as one table has entries. */
#define STAGE1_IOVA  0x4000000000ULL
#define STAGE1_PAGES 512

/** There are entries for as many stream IDs, those around the first that is attached. */
#define STAGE1_GROUP 256

/** A transaction that the SMMU did not let through. */
struct stage1_fault {
	uint8_t event;    /**< what is wrong: 0x10 is F_TRANSLATION, nothing is mapped there */
	uint32_t stream;  /**< who asked: the stream ID */
	uint64_t address; /**< for which address */
};

/**
 * Let the device see the page of memory at @p physical (a guest's own physical address) at @p iova.
 * A page that was mapped there before stays visible until stage1_forget().
 * @return false if @p iova lies outside of STAGE1_IOVA's pages
 */
bool stage1_map(uint64_t iova, uint64_t physical);

/** Take the page at @p iova from the device again; as with stage1_map(). */
bool stage1_unmap(uint64_t iova);

/** Make the SMMU forget what it knows of the page tables. @return false if it does not answer */
bool stage1_forget(void);

/**
 * Switch the SMMU on, with an empty stream table. By QEMU's SMMU, and any real one, a stream that
 * stage1_attach() has not named then moves nothing; Xen's vSMMU leaves it as it was.
 * @param smmu where its registers are mapped
 * @return false if the SMMU cannot do what is needed, or does not answer
 */
bool stage1_enable(mm_reg_t smmu);

/**
 * Translate the stream @p id by the page tables.
 * @return false if the SMMU does not take it, or if it is not in the same STAGE1_GROUP IDs as one
 *         that was attached before
 */
bool stage1_attach(uint32_t id);

/** Take the oldest fault out of the event queue. @return false if there is none */
bool stage1_next_fault(struct stage1_fault *fault);

#endif /* STAGE1_H_ */
