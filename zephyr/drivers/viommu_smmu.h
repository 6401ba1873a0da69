/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The registers, queues and tables of an SMMUv3, for stage 1 alone. Names and numbers are those of
 * Arm IHI 0070, the SMMUv3 architecture.
 *
 * This needs register access and barriers and nothing else of Zephyr: tests/xen runs the same code
 * in guests without Zephyr. Nothing here locks; viommu_stage1.c does.
 */
#ifndef VIOMMU_SMMU_H_
#define VIOMMU_SMMU_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zephyr/sys/sys_io.h>

#define VIOMMU_SMMU_PAGE_SIZE 4096

/** Bits of an address that a device uses ("IOVA"): a walk of three tables of 4 KiB pages. */
#define VIOMMU_SMMU_IOVA_BITS 39

/**
 * Bits of a stream ID, and how many of them the second level of the stream table resolves. Xen's
 * vSMMU takes every stream table for one of two levels, split at 8 bits.
 */
#define VIOMMU_SMMU_ID_BITS    16
#define VIOMMU_SMMU_GROUP_BITS 8
#define VIOMMU_SMMU_GROUPS     (1U << (VIOMMU_SMMU_ID_BITS - VIOMMU_SMMU_GROUP_BITS))
#define VIOMMU_SMMU_GROUP_SIZE (1U << VIOMMU_SMMU_GROUP_BITS)

/** A stream table entry (STE), section 5.2. */
struct viommu_smmu_stream {
	uint64_t words[8];
};

/** A context descriptor (CD), section 5.4: it names the page tables of a device. */
struct viommu_smmu_context {
	uint64_t words[8];
};

/** A command, section 4. */
struct viommu_smmu_command {
	uint64_t words[2];
};

/** An event record, section 7.3. */
struct viommu_smmu_record {
	uint64_t words[4];
};

/** A page table, of any level. */
struct viommu_smmu_table {
	uint64_t entries[512];
};

/** A transaction that the SMMU did not let through. */
struct viommu_smmu_event {
	uint64_t address;
	uint32_t stream_id;
	uint8_t type;
};

/**
 * An SMMU, and the memory that it reads and writes: all of it zero at first, and each table and
 * queue aligned to its size. The address of each is also where it is in memory.
 */
struct viommu_smmu {
	mm_reg_t registers;
	/** The first level of the stream table, VIOMMU_SMMU_GROUPS pointers. */
	uint64_t *groups;
	/** The command queue and the event queue, with the logarithm of how many each has. */
	struct viommu_smmu_command *commands;
	struct viommu_smmu_record *records;
	uint8_t commands_log2;
	uint8_t records_log2;
	/** Page tables for all devices, and how many of them are in use. */
	struct viommu_smmu_table *tables;
	size_t num_tables;
	size_t used_tables;
};

/**
 * Enable an SMMU. A stream without a valid entry in the stream table moves nothing then, except by
 * Xen's vSMMU, which leaves such a stream as it was.
 * @retval -ENOTSUP the SMMU lacks something that is needed
 * @retval -EIO     the SMMU does not answer
 */
int viommu_smmu_enable(struct viommu_smmu *smmu);

/** Whether the stream table has a group of entries for the stream. */
bool viommu_smmu_has_group(const struct viommu_smmu *smmu, uint32_t stream_id);

/** Give the stream table the VIOMMU_SMMU_GROUP_SIZE entries around the stream. */
void viommu_smmu_set_group(struct viommu_smmu *smmu, uint32_t stream_id,
			   struct viommu_smmu_stream *entries);

/** Let a context name the page tables that begin at @p root, with a number of its own, @p asid. */
void viommu_smmu_set_context(struct viommu_smmu *smmu, struct viommu_smmu_context *context,
			     struct viommu_smmu_table *root, uint16_t asid);

/**
 * Translate a stream, which has a group, by the page tables of a context.
 * @retval -EIO the SMMU does not answer
 */
int viommu_smmu_translate(struct viommu_smmu *smmu, uint32_t stream_id,
			  const struct viommu_smmu_context *context);

/**
 * Map @p size bytes, from @p iova for the device to @p address in memory: all of them, or none.
 * @retval -EINVAL not whole pages, or beyond what the tables can name
 * @retval -EEXIST a page of the range is mapped already
 * @retval -ENOMEM no page table is left
 */
int viommu_smmu_map(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint64_t iova,
		    uint64_t address, size_t size);

/**
 * Unmap @p size bytes at @p iova: all of them, or none.
 * @retval -EINVAL not whole pages, or beyond what the tables can name
 * @retval -ENOENT a page of the range is not mapped
 * @retval -EIO    the SMMU does not answer, and the device may still reach the pages
 */
int viommu_smmu_unmap(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint16_t asid,
		      uint64_t iova, size_t size);

/** Take the oldest event out of the event queue. @return false if there is none */
bool viommu_smmu_next_event(struct viommu_smmu *smmu, struct viommu_smmu_event *event);

#endif /* VIOMMU_SMMU_H_ */
