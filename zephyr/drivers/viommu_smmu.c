/* SPDX-License-Identifier: Apache-2.0 */
#include "viommu_smmu.h"

#include <errno.h>

#include <zephyr/arch/cpu.h>
#include <zephyr/sys/barrier.h>

/* Registers: section 6.3. The pointers of the event queue are in the second 64 KiB. */
#define IDR0            0x00000
#define IDR1            0x00004
#define IDR5            0x00014
#define CR0             0x00020
#define CR0ACK          0x00024
#define CR1             0x00028
#define IRQ_CTRL        0x00050
#define STRTAB_BASE     0x00080
#define STRTAB_BASE_CFG 0x00088
#define CMDQ_BASE       0x00090
#define CMDQ_PROD       0x00098
#define CMDQ_CONS       0x0009c
#define EVENTQ_BASE     0x000a0
#define EVENTQ_PROD     0x100a8
#define EVENTQ_CONS     0x100ac

#define IDR0_S1P            (1U << 1)  /* stage 1 */
#define IDR0_TTF_AARCH64    (1U << 3)  /* page tables as those of an arm64 CPU */
#define IDR0_COHACC         (1U << 4)  /* coherent with the caches of the CPU */
#define IDR0_ST_2LEVEL      (1U << 27) /* stream tables of two levels */
#define IDR0_NEEDED         (IDR0_S1P | IDR0_TTF_AARCH64 | IDR0_COHACC | IDR0_ST_2LEVEL)
#define IDR1_SIDSIZE        0x3f
#define IDR1_EVENTQS(value) ((value) >> 16 & 0x1f)
#define IDR1_CMDQS(value)   ((value) >> 21 & 0x1f)
#define IDR5_OAS            0x7
#define IDR5_GRAN4K         (1U << 4)
#define CR0_SMMUEN          (1U << 0)
#define CR0_EVENTQEN        (1U << 2)
#define CR0_CMDQEN          (1U << 3)
#define CR1_CACHED          0xd75 /* tables and queues: inner shareable, write-back */
#define IRQ_CTRL_EVENTQ     (1U << 2)
#define BASE_ALLOCATE       (1ULL << 62) /* allocation hint of each *_BASE */

/* Commands: section 4. */
#define CMD_CFGI_STE      0x03
#define CMD_CFGI_ALL      0x04
#define CFGI_ALL_RANGE    31
#define CMD_TLBI_NH_ASID  0x11
#define CMD_TLBI_NSNH_ALL 0x30
#define CMD_SYNC          0x46

/* Stream table: sections 5.1 and 5.2. */
#define CFG_2LEVEL        (1U << 16 | VIOMMU_SMMU_GROUP_BITS << 6 | VIOMMU_SMMU_ID_BITS)
#define GROUP_SPAN        (VIOMMU_SMMU_GROUP_BITS + 1ULL)
#define GROUP_ADDRESS     (~0x1fULL)
#define STE_V             (1ULL << 0)
#define STE_CONFIG_STAGE1 (5ULL << 1) /* stage 1 translates; stage 2 is not ours */
#define STE1_CACHED       (1ULL << 2 | 1ULL << 4 | 3ULL << 6) /* how to fetch the descriptor */
#define STE1_SHCFG_AS_IS  (1ULL << 44)

/* Context descriptor: section 5.4. */
#define CD_T0SZ         (64ULL - VIOMMU_SMMU_IOVA_BITS)
#define CD_CACHED       (1ULL << 8 | 1ULL << 10 | 3ULL << 12) /* how to walk the tables */
#define CD_EPD1         (1ULL << 30)                          /* no second set of tables */
#define CD_V            (1ULL << 31)
#define CD_IPS_SHIFT    32
#define CD_AA64         (1ULL << 41)
#define CD_R            (1ULL << 45) /* record faults in the event queue */
#define CD_A            (1ULL << 46) /* and abort the transaction */
#define CD_ASET         (1ULL << 47) /* the ASID is not one of a CPU's */
#define CD_ASID_SHIFT   48
#define MAIR_WRITE_BACK 0xffULL /* attribute 0 of the page tables */

/* Page tables: Arm DDI 0487, VMSAv8-64. */
#define PAGE_SHIFT  12
#define LEVEL_SHIFT 9
#define LEVEL_MASK  0x1ff
#define TOP_SHIFT   (PAGE_SHIFT + 2 * LEVEL_SHIFT)
#define PAGE_MASK   (VIOMMU_SMMU_PAGE_SIZE - 1ULL)
#define OUTPUT_BITS 48
#define PTE_TABLE   3ULL
#define PTE_PAGE    3ULL
#define PTE_AP_RW   (1ULL << 6)
#define PTE_SH      (3ULL << 8)
#define PTE_AF      (1ULL << 10)
#define PTE_NG      (1ULL << 11) /* of one ASID: a global page would be every device's */
#define PTE_ADDRESS (((1ULL << OUTPUT_BITS) - 1) & ~PAGE_MASK)

/* The bit above a queue's index tells a full queue from an empty one. */
#define QUEUE_INDEX(log2)   ((1U << (log2)) - 1)
#define QUEUE_POINTER(log2) ((2U << (log2)) - 1)
#define OVERFLOWED          (1U << 31) /* EVENTQ_PROD: events were lost; EVENTQ_CONS: we know */
#define PATIENCE            1000000    /* looks at a register before the SMMU counts as dead */

static int wait_for(struct viommu_smmu *smmu, unsigned int reg, uint32_t value)
{
	for (unsigned int i = 0; i < PATIENCE; i++) {
		if (sys_read32(smmu->registers + reg) == value) {
			return 0;
		}
	}
	return -EIO;
}

static int control(struct viommu_smmu *smmu, uint32_t value)
{
	sys_write32(value, smmu->registers + CR0);
	return wait_for(smmu, CR0ACK, value);
}

/* Give one command, and wait until the SMMU has taken it. */
static int command(struct viommu_smmu *smmu, uint64_t first, uint64_t second)
{
	uint32_t prod = sys_read32(smmu->registers + CMDQ_PROD);

	smmu->commands[prod & QUEUE_INDEX(smmu->commands_log2)] =
		(struct viommu_smmu_command){{first, second}};
	barrier_dsync_fence_full(); /* the command is in memory before the SMMU looks for it */
	prod = (prod + 1) & QUEUE_POINTER(smmu->commands_log2);
	sys_write32(prod, smmu->registers + CMDQ_PROD);
	/* After an error, CMDQ_CONS has its number in other bits, and never becomes prod. */
	return wait_for(smmu, CMDQ_CONS, prod);
}

static int command_and_sync(struct viommu_smmu *smmu, uint64_t first, uint64_t second)
{
	int ret = command(smmu, first, second);

	return ret ? ret : command(smmu, CMD_SYNC, 0);
}

static bool is_capable(struct viommu_smmu *smmu)
{
	uint32_t sizes = sys_read32(smmu->registers + IDR1);

	return (sys_read32(smmu->registers + IDR0) & IDR0_NEEDED) == IDR0_NEEDED &&
	       (sys_read32(smmu->registers + IDR5) & IDR5_GRAN4K) &&
	       (sizes & IDR1_SIDSIZE) >= VIOMMU_SMMU_ID_BITS &&
	       IDR1_CMDQS(sizes) >= smmu->commands_log2 &&
	       IDR1_EVENTQS(sizes) >= smmu->records_log2;
}

int viommu_smmu_enable(struct viommu_smmu *smmu)
{
	int ret;

	if (!is_capable(smmu)) {
		return -ENOTSUP;
	}
	ret = control(smmu, 0);
	if (ret) {
		return ret;
	}
	sys_write32(CR1_CACHED, smmu->registers + CR1);
	sys_write64((uintptr_t)smmu->groups | BASE_ALLOCATE, smmu->registers + STRTAB_BASE);
	sys_write32(CFG_2LEVEL, smmu->registers + STRTAB_BASE_CFG);
	sys_write64((uintptr_t)smmu->commands | smmu->commands_log2 | BASE_ALLOCATE,
		    smmu->registers + CMDQ_BASE);
	sys_write32(0, smmu->registers + CMDQ_PROD);
	sys_write32(0, smmu->registers + CMDQ_CONS);
	sys_write64((uintptr_t)smmu->records | smmu->records_log2 | BASE_ALLOCATE,
		    smmu->registers + EVENTQ_BASE);
	sys_write32(0, smmu->registers + EVENTQ_PROD);
	sys_write32(0, smmu->registers + EVENTQ_CONS);
	barrier_dsync_fence_full();

	ret = control(smmu, CR0_CMDQEN | CR0_EVENTQEN);
	if (ret) {
		return ret;
	}
	sys_write32(IRQ_CTRL_EVENTQ, smmu->registers + IRQ_CTRL);
	ret = command(smmu, CMD_CFGI_ALL, CFGI_ALL_RANGE);
	if (ret) {
		return ret;
	}
	ret = command_and_sync(smmu, CMD_TLBI_NSNH_ALL, 0);
	if (ret) {
		return ret;
	}
	return control(smmu, CR0_CMDQEN | CR0_EVENTQEN | CR0_SMMUEN);
}

bool viommu_smmu_has_group(const struct viommu_smmu *smmu, uint32_t stream_id)
{
	return smmu->groups[stream_id >> VIOMMU_SMMU_GROUP_BITS] != 0;
}

void viommu_smmu_set_group(struct viommu_smmu *smmu, uint32_t stream_id,
			   struct viommu_smmu_stream *entries)
{
	smmu->groups[stream_id >> VIOMMU_SMMU_GROUP_BITS] = (uintptr_t)entries | GROUP_SPAN;
}

void viommu_smmu_set_context(struct viommu_smmu *smmu, struct viommu_smmu_context *context,
			     struct viommu_smmu_table *root, uint16_t asid)
{
	uint64_t address_size = sys_read32(smmu->registers + IDR5) & IDR5_OAS;

	*context = (struct viommu_smmu_context){{
		CD_T0SZ | CD_CACHED | CD_EPD1 | CD_V | address_size << CD_IPS_SHIFT | CD_AA64 |
			CD_R | CD_A | CD_ASET | (uint64_t)asid << CD_ASID_SHIFT,
		(uintptr_t)root,
		0,
		MAIR_WRITE_BACK,
	}};
}

int viommu_smmu_translate(struct viommu_smmu *smmu, uint32_t stream_id,
			  const struct viommu_smmu_context *context)
{
	uint64_t group = smmu->groups[stream_id >> VIOMMU_SMMU_GROUP_BITS];
	struct viommu_smmu_stream *entries =
		(struct viommu_smmu_stream *)(uintptr_t)(group & GROUP_ADDRESS);
	struct viommu_smmu_stream *entry = &entries[stream_id % VIOMMU_SMMU_GROUP_SIZE];

	entry->words[1] = STE1_CACHED | STE1_SHCFG_AS_IS;
	barrier_dsync_fence_full(); /* the word with the valid bit comes last */
	entry->words[0] = (uintptr_t)context | STE_CONFIG_STAGE1 | STE_V;
	/* Without the Leaf bit: the pointer to the entry may be new as well. */
	return command_and_sync(smmu, CMD_CFGI_STE | (uint64_t)stream_id << 32, 0);
}

/*
 * The entry for an address in the table whose entries span 1 << level bytes. If a table above is
 * missing, it is made with `make`; NULL without.
 */
static uint64_t *entry_of(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint64_t iova,
			  unsigned int level, bool make)
{
	struct viommu_smmu_table *table = root;

	for (unsigned int shift = TOP_SHIFT; shift > level; shift -= LEVEL_SHIFT) {
		uint64_t *entry = &table->entries[iova >> shift & LEVEL_MASK];

		if (!*entry && !make) {
			return NULL;
		}
		if (!*entry) {
			*entry = (uintptr_t)&smmu->tables[smmu->used_tables++] | PTE_TABLE;
		}
		table = (struct viommu_smmu_table *)(uintptr_t)(*entry & PTE_ADDRESS);
	}
	return &table->entries[iova >> level & LEVEL_MASK];
}

/* The entry of a page; NULL if there is no table for it. */
static uint64_t *page_entry(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint64_t iova)
{
	return entry_of(smmu, root, iova, PAGE_SHIFT, false);
}

/* Whether there are tables for all pages of a range, or enough left to make them. */
static bool has_tables(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint64_t iova,
		       size_t size)
{
	size_t left = smmu->num_tables - smmu->used_tables;

	for (unsigned int shift = TOP_SHIFT; shift > PAGE_SHIFT; shift -= LEVEL_SHIFT) {
		for (uint64_t i = iova >> shift; i <= (iova + size - 1) >> shift; i++) {
			uint64_t *entry = entry_of(smmu, root, i << shift, shift, false);

			if ((!entry || !*entry) && !left--) {
				return false;
			}
		}
	}
	return true;
}

static bool is_range(uint64_t start, size_t size, unsigned int bits)
{
	return size && !((start | size) & PAGE_MASK) && start < 1ULL << bits &&
	       size <= (1ULL << bits) - start;
}

int viommu_smmu_map(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint64_t iova,
		    uint64_t address, size_t size)
{
	if (!is_range(iova, size, VIOMMU_SMMU_IOVA_BITS) || !is_range(address, size, OUTPUT_BITS)) {
		return -EINVAL;
	}
	if (!has_tables(smmu, root, iova, size)) {
		return -ENOMEM;
	}
	for (size_t done = 0; done < size; done += VIOMMU_SMMU_PAGE_SIZE) {
		uint64_t *entry = page_entry(smmu, root, iova + done);

		if (entry && *entry) {
			return -EEXIST;
		}
	}
	for (size_t done = 0; done < size; done += VIOMMU_SMMU_PAGE_SIZE) {
		*entry_of(smmu, root, iova + done, PAGE_SHIFT, true) =
			(address + done) | PTE_NG | PTE_AF | PTE_SH | PTE_AP_RW | PTE_PAGE;
	}
	barrier_dsync_fence_full(); /* in memory before the device hears of the address */
	return 0;
}

int viommu_smmu_unmap(struct viommu_smmu *smmu, struct viommu_smmu_table *root, uint16_t asid,
		      uint64_t iova, size_t size)
{
	if (!is_range(iova, size, VIOMMU_SMMU_IOVA_BITS)) {
		return -EINVAL;
	}
	for (size_t done = 0; done < size; done += VIOMMU_SMMU_PAGE_SIZE) {
		uint64_t *entry = page_entry(smmu, root, iova + done);

		if (!entry || !*entry) {
			return -ENOENT;
		}
	}
	for (size_t done = 0; done < size; done += VIOMMU_SMMU_PAGE_SIZE) {
		*page_entry(smmu, root, iova + done) = 0;
	}
	/* Xen's vSMMU knows this form, and the ones for all or for one address. */
	return command_and_sync(smmu, CMD_TLBI_NH_ASID | (uint64_t)asid << 48, 0);
}

bool viommu_smmu_next_event(struct viommu_smmu *smmu, struct viommu_smmu_event *event)
{
	uint32_t prod = sys_read32(smmu->registers + EVENTQ_PROD);
	uint32_t cons = sys_read32(smmu->registers + EVENTQ_CONS);
	const struct viommu_smmu_record *record =
		&smmu->records[cons & QUEUE_INDEX(smmu->records_log2)];

	if (!((prod ^ cons) & QUEUE_POINTER(smmu->records_log2))) {
		return false;
	}
	barrier_dsync_fence_full(); /* the record is read after the pointer that announced it */
	*event = (struct viommu_smmu_event){
		.address = record->words[2],
		.stream_id = (uint32_t)(record->words[0] >> 32),
		.type = (uint8_t)record->words[0],
	};
	cons = (cons + 1) & QUEUE_POINTER(smmu->records_log2);
	sys_write32(cons | (prod & OVERFLOWED), smmu->registers + EVENTQ_CONS);
	return true;
}
