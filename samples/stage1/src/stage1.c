/* SPDX-License-Identifier: Apache-2.0 */
/* Zephyr maps its image one to one on arm64, so the address of a table is where it is in memory. */
#include "stage1.h"

#include <zephyr/arch/cpu.h>
#include <zephyr/sys/barrier.h>

/* Registers: section 6.3. Those of the event queue's pointers are in the second 64 KiB. */
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

#define IDR0_S1P        (1U << 1)  /* it has stage 1 */
#define IDR0_ST_2LEVEL  (1U << 27) /* and takes stream tables of two levels */
#define IDR1_SIDSIZE    0x3f
#define IDR5_OAS        0x7
#define CR0_SMMUEN      (1U << 0)
#define CR0_EVENTQEN    (1U << 2)
#define CR0_CMDQEN      (1U << 3)
#define CR1_CACHED      0xd75 /* tables and queues: inner shareable, write-back */
#define IRQ_CTRL_EVENTQ (1U << 2)
#define BASE_ALLOCATE   (1ULL << 62) /* allocation hint of each *_BASE */

/* Commands: section 4. */
#define CMD_CFGI_STE      0x03
#define CMD_CFGI_ALL      0x04
#define CFGI_ALL_RANGE    31
#define CMD_TLBI_NSNH_ALL 0x30
#define CMD_SYNC          0x46

/*
 * Stream table: sections 5.1 and 5.2. Two levels, as Xen's vSMMU takes every table for such: one
 * pointer for each 256 IDs, and entries behind the pointers that are needed.
 */
#define ID_BITS           16
#define SPLIT             8 /* what the second level resolves: STAGE1_GROUP is 1 << SPLIT */
#define CFG_2LEVEL        (1U << 16 | SPLIT << 6 | ID_BITS)
#define L1_SPAN           (SPLIT + 1ULL)
#define STE_V             (1ULL << 0)
#define STE_CONFIG_STAGE1 (5ULL << 1) /* stage 1 translates; stage 2 is not ours */
#define STE1_CACHED       (1ULL << 2 | 1ULL << 4 | 3ULL << 6) /* how to fetch the descriptor */
#define STE1_SHCFG_AS_IS  (1ULL << 44)

/* Context descriptor: section 5.4. Pages of 4 KiB, 39 bits of address: a walk of three tables. */
#define CD_T0SZ_39_BITS 25ULL
#define CD_CACHED       (1ULL << 8 | 1ULL << 10 | 3ULL << 12) /* how to walk the tables */
#define CD_EPD1         (1ULL << 30)                          /* no second set of tables */
#define CD_V            (1ULL << 31)
#define CD_IPS_SHIFT    32
#define CD_AA64         (1ULL << 41)
#define CD_R            (1ULL << 45) /* record faults in the event queue */
#define CD_A            (1ULL << 46) /* and abort the transaction */
#define CD_ASET         (1ULL << 47)
#define CD_ASID_1       (1ULL << 48)
#define MAIR_WRITE_BACK 0xffULL /* attribute 0 of the page tables */

/* Page tables: Arm DDI 0487, VMSAv8-64. */
#define ENTRIES   512
#define PTE_TABLE 3ULL
#define PTE_PAGE  3ULL
#define PTE_AP_RW (1ULL << 6)
#define PTE_SH    (3ULL << 8)
#define PTE_AF    (1ULL << 10)

#define QUEUE_LOG2 4
#define QUEUE_WRAP (1U << QUEUE_LOG2) /* tells a full queue from an empty one */
#define QUEUE_MASK (QUEUE_WRAP - 1)
#define QUEUE_AT   (QUEUE_WRAP | QUEUE_MASK)
#define OVERFLOWED (1U << 31) /* in EVENTQ_PROD: events were lost; in EVENTQ_CONS: we know */
#define PATIENCE   1000000 /* looks at a register before the SMMU counts as dead */

struct stream {
	uint64_t words[8];
};

struct command {
	uint64_t words[2];
};

struct event {
	uint64_t words[4];
};

#define ALIGNED(n) __attribute__((aligned(n)))

static uint64_t level1[ENTRIES] ALIGNED(STAGE1_PAGE_SIZE);
static uint64_t level2[ENTRIES] ALIGNED(STAGE1_PAGE_SIZE);
static uint64_t level3[ENTRIES] ALIGNED(STAGE1_PAGE_SIZE);
static uint64_t groups[1 << (ID_BITS - SPLIT)] ALIGNED(8 << (ID_BITS - SPLIT));
static struct stream streams[STAGE1_GROUP] ALIGNED(sizeof(struct stream) * STAGE1_GROUP);
static uint64_t context[8] ALIGNED(64);
static struct command commands[1 << QUEUE_LOG2] ALIGNED(sizeof(struct command) << QUEUE_LOG2);
static struct event events[1 << QUEUE_LOG2] ALIGNED(sizeof(struct event) << QUEUE_LOG2);

static mm_reg_t smmu;

static bool becomes(unsigned int reg, uint32_t value)
{
	for (unsigned int i = 0; i < PATIENCE; i++) {
		if (sys_read32(smmu + reg) == value) {
			return true;
		}
	}
	return false;
}

/* Give one command, and wait until the SMMU has taken it. */
static bool command(uint64_t first, uint64_t second)
{
	uint32_t prod = sys_read32(smmu + CMDQ_PROD);

	commands[prod & QUEUE_MASK] = (struct command){{first, second}};
	barrier_dsync_fence_full(); /* it is in memory before the SMMU is told */
	prod = (prod + 1) & QUEUE_AT;
	sys_write32(prod, smmu + CMDQ_PROD);
	/* With an error, CMDQ_CONS has its number in other bits, and never becomes prod. */
	return becomes(CMDQ_CONS, prod);
}

static uint64_t *page_entry(uint64_t iova)
{
	if (iova < STAGE1_IOVA || iova - STAGE1_IOVA >= STAGE1_PAGES * STAGE1_PAGE_SIZE) {
		return NULL;
	}
	return &level3[iova / STAGE1_PAGE_SIZE % ENTRIES];
}

bool stage1_map(uint64_t iova, uint64_t physical)
{
	uint64_t *entry = page_entry(iova);

	if (!entry || physical % STAGE1_PAGE_SIZE) {
		return false;
	}
	*entry = physical | PTE_AF | PTE_SH | PTE_AP_RW | PTE_PAGE;
	barrier_dsync_fence_full(); /* it is in memory before the device is told of the address */
	return true;
}

bool stage1_unmap(uint64_t iova)
{
	uint64_t *entry = page_entry(iova);

	if (!entry) {
		return false;
	}
	*entry = 0;
	return true;
}

bool stage1_forget(void)
{
	return command(CMD_TLBI_NSNH_ALL, 0) && command(CMD_SYNC, 0);
}

/* One set of page tables and one descriptor that names it, whatever streams the device has. */
static void describe_context(void)
{
	uint64_t address_size = sys_read32(smmu + IDR5) & IDR5_OAS;

	level1[STAGE1_IOVA >> 30 & (ENTRIES - 1)] = (uintptr_t)level2 | PTE_TABLE;
	level2[STAGE1_IOVA >> 21 & (ENTRIES - 1)] = (uintptr_t)level3 | PTE_TABLE;
	context[0] = CD_T0SZ_39_BITS | CD_CACHED | CD_EPD1 | CD_V | address_size << CD_IPS_SHIFT |
		     CD_AA64 | CD_R | CD_A | CD_ASET | CD_ASID_1;
	context[1] = (uintptr_t)level1;
	context[3] = MAIR_WRITE_BACK;
}

bool stage1_enable(mm_reg_t registers)
{
	uint32_t needed = IDR0_S1P | IDR0_ST_2LEVEL;

	smmu = registers;
	if ((sys_read32(smmu + IDR0) & needed) != needed ||
	    (sys_read32(smmu + IDR1) & IDR1_SIDSIZE) < ID_BITS) {
		return false;
	}
	sys_write32(0, smmu + CR0);
	if (!becomes(CR0ACK, 0)) {
		return false;
	}
	describe_context();
	sys_write32(CR1_CACHED, smmu + CR1);
	sys_write64((uintptr_t)groups | BASE_ALLOCATE, smmu + STRTAB_BASE);
	sys_write32(CFG_2LEVEL, smmu + STRTAB_BASE_CFG);
	sys_write64((uintptr_t)commands | QUEUE_LOG2 | BASE_ALLOCATE, smmu + CMDQ_BASE);
	sys_write32(0, smmu + CMDQ_PROD);
	sys_write32(0, smmu + CMDQ_CONS);
	sys_write64((uintptr_t)events | QUEUE_LOG2 | BASE_ALLOCATE, smmu + EVENTQ_BASE);
	sys_write32(0, smmu + EVENTQ_PROD);
	sys_write32(0, smmu + EVENTQ_CONS);
	barrier_dsync_fence_full();

	sys_write32(CR0_CMDQEN | CR0_EVENTQEN, smmu + CR0);
	sys_write32(IRQ_CTRL_EVENTQ, smmu + IRQ_CTRL);
	if (!becomes(CR0ACK, CR0_CMDQEN | CR0_EVENTQEN) ||
	    !command(CMD_CFGI_ALL, CFGI_ALL_RANGE) || !stage1_forget()) {
		return false;
	}
	sys_write32(CR0_CMDQEN | CR0_EVENTQEN | CR0_SMMUEN, smmu + CR0);
	return becomes(CR0ACK, CR0_CMDQEN | CR0_EVENTQEN | CR0_SMMUEN);
}

/* The entry of the stream, if there is room for it: one group of them is. */
static struct stream *entry_of(uint32_t id)
{
	static uint32_t group;
	static bool chosen;

	if (id >> ID_BITS || (chosen && id >> SPLIT != group)) {
		return NULL;
	}
	chosen = true;
	group = id >> SPLIT;
	groups[group] = (uintptr_t)streams | L1_SPAN;
	return &streams[id % STAGE1_GROUP];
}

bool stage1_attach(uint32_t id)
{
	struct stream *stream = entry_of(id);

	if (!stream) {
		return false;
	}
	stream->words[1] = STE1_CACHED | STE1_SHCFG_AS_IS;
	barrier_dsync_fence_full(); /* the word with the valid bit comes last */
	stream->words[0] = (uintptr_t)context | STE_CONFIG_STAGE1 | STE_V;
	/* Without the Leaf bit: the pointer to the entry is new as well. */
	return command(CMD_CFGI_STE | (uint64_t)id << 32, 0) && command(CMD_SYNC, 0);
}

bool stage1_next_fault(struct stage1_fault *fault)
{
	uint32_t prod = sys_read32(smmu + EVENTQ_PROD);
	uint32_t cons = sys_read32(smmu + EVENTQ_CONS);
	const struct event *event = &events[cons & QUEUE_MASK];

	if (!((prod ^ cons) & QUEUE_AT)) {
		return false;
	}
	barrier_dsync_fence_full(); /* the event is read after the pointer that announced it */
	*fault = (struct stage1_fault){
		.event = (uint8_t)event->words[0],
		.stream = (uint32_t)(event->words[0] >> 32),
		.address = event->words[2],
	};
	sys_write32(((cons + 1) & QUEUE_AT) | (prod & OVERFLOWED), smmu + EVENTQ_CONS);
	return true;
}
