// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that owns QEMU's edu device (docs/specs/edu.txt there), a DMA engine with a buffer: it
 * takes the device's interrupt and moves bytes out of memory and back. With STAGE1, it first
 * programs the SMMU, and the device reaches memory by the addresses that are mapped there.
 *
 * EDU, EDU_CONFIG (its PCI configuration space), EDU_INTID, and for STAGE1 also SMMU and
 * STREAM_ID, come from its devicetree.
 */
#include <stdbool.h>

#include <zephyr/sys/barrier.h>
#include <zephyr/sys/sys_io.h>

#include "guest.h"
#ifdef STAGE1
#include "viommu_smmu.h"
#endif

#define PCI_ID      0x00
#define PCI_COMMAND 0x04
#define PCI_BAR0    0x10
#define MEMORY      (1 << 1) /* PCI_COMMAND: answer at the BAR */
#define MASTER      (1 << 2) /* PCI_COMMAND: may do DMA */

#define EDU_RAISE       0x60
#define EDU_ACKNOWLEDGE 0x64
#define EDU_SOURCE      0x80
#define EDU_TARGET      0x88
#define EDU_COUNT       0x90
#define EDU_COMMAND     0x98
#define START           (1 << 0)
#define TO_MEMORY       (1 << 1)
#define EDU_BUFFER      0x40000 /* as the device itself sees it */

#define SIZE   2048 /* QEMU 7.2 ends with an error when the whole buffer is filled at once */
#define PAGE   4096
#define UNUSED 0x55

static uint8_t from[PAGE] __attribute__((aligned(PAGE)));
static uint8_t to[PAGE] __attribute__((aligned(PAGE)));

static bool edu_answers(void)
{
	if (sys_read32(EDU_CONFIG + PCI_ID) != 0x11e81234)
		return false;
	sys_write32(EDU, EDU_CONFIG + PCI_BAR0);
	sys_write32(MEMORY | MASTER, EDU_CONFIG + PCI_COMMAND);
	return (sys_read32(EDU) & 0xffff) == 0x00ed; /* below it, its version */
}

static void move(uint64_t source, uint64_t target, uint64_t direction)
{
	sys_write64(source, EDU + EDU_SOURCE);
	sys_write64(target, EDU + EDU_TARGET);
	sys_write64(SIZE, EDU + EDU_COUNT);
	sys_write64(START | direction, EDU + EDU_COMMAND);
	while (sys_read64(EDU + EDU_COMMAND) & START)
		;
}

#ifdef STAGE1
#define ALIGNED(n) __attribute__((aligned(n)))
#define QUEUE_LOG2 4

static uint64_t groups[VIOMMU_SMMU_GROUPS] ALIGNED(8 * VIOMMU_SMMU_GROUPS);
static struct viommu_smmu_stream entries[VIOMMU_SMMU_GROUP_SIZE]
	ALIGNED(64 * VIOMMU_SMMU_GROUP_SIZE);
static struct viommu_smmu_context context ALIGNED(64);
static struct viommu_smmu_command commands[1 << QUEUE_LOG2] ALIGNED(16 << QUEUE_LOG2);
static struct viommu_smmu_record records[1 << QUEUE_LOG2] ALIGNED(32 << QUEUE_LOG2);
static struct viommu_smmu_table tables[3] ALIGNED(PAGE);

static struct viommu_smmu smmu = {
	.registers = SMMU,
	.groups = groups,
	.commands = commands,
	.commands_log2 = QUEUE_LOG2,
	.records = records,
	.records_log2 = QUEUE_LOG2,
	.tables = &tables[1],
	.num_tables = 2,
};

#define ROOT (&tables[0])
#define ASID 1

/* Arm DDI 0487, VMSAv8-64, nG: the page is of one ASID. QEMU takes each for such a page. */
#define PTE_NG (1 << 11)

/* The device asks again and again; a page is told once. */
static void print_faults(void)
{
	struct viommu_smmu_event event;
	struct viommu_smmu_event last = {0};

	while (viommu_smmu_next_event(&smmu, &event)) {
		event.address &= ~(PAGE - 1UL);
		if (event.type == last.type && event.stream_id == last.stream_id &&
		    event.address == last.address)
			continue;
		last = event;
		print("event ");
		print_number(event.type, 16);
		print(" of stream ");
		print_number(event.stream_id, 16);
		print(" for ");
		print_number(event.address, 16);
		print("\n");
	}
}
#else
static void print_faults(void)
{
}
#endif

/*
 * Bytes go from `source` into the device and out of it to `target`: did they come from `from`, and
 * arrive in `to`? Each time they are others: SEED tells guests apart, `turn` the times.
 */
static bool moves(const char *by, uint64_t source, uint64_t target)
{
	static uint8_t turn;
	unsigned int wrong = 0;
	unsigned int untouched = 0;

	turn++;
	for (unsigned int i = 0; i < SIZE; i++) {
		from[i] = (uint8_t)(i * 7 + turn * 16 + SEED);
		to[i] = UNUSED;
	}
	barrier_dsync_fence_full();
	move(source, EDU_BUFFER, 0);
	move(EDU_BUFFER, target, TO_MEMORY);
	barrier_dsync_fence_full();
	for (unsigned int i = 0; i < SIZE; i++) {
		wrong += to[i] != from[i];
		untouched += to[i] == UNUSED;
	}
	print("by ");
	print(by);
	if (!wrong)
		print(": all bytes moved\n");
	else if (untouched == SIZE)
		print(": no byte moved\n");
	else
		print(": other bytes arrived\n");
	print_faults();
	return !wrong;
}

static bool takes_its_interrupt(void)
{
	unsigned int intid;

	enable_interrupt(EDU_INTID);
	sys_write32(1, EDU + EDU_RAISE);
	intid = taken_interrupt();
	sys_write32(1, EDU + EDU_ACKNOWLEDGE);
	print("irq ");
	print_number(intid, 10);
	print("\n");
	return intid == EDU_INTID;
}

#ifdef STAGE1
#define IOVA_FROM   0x4000005000UL
#define IOVA_TO     0x4000009000UL
#define IOVA_NOBODY 0x4000007000UL

static bool is_mapped(uint64_t iova, const uint8_t *page)
{
	const uint64_t *entry = &tables[2].entries[iova / PAGE % 512];

	return !viommu_smmu_map(&smmu, ROOT, iova, (uintptr_t)page, PAGE) && (*entry & PTE_NG);
}

static bool is_attached(void)
{
	viommu_smmu_set_group(&smmu, STREAM_ID, entries);
	if (viommu_smmu_enable(&smmu))
		return false;
	viommu_smmu_set_context(&smmu, &context, ROOT, ASID);
	return !viommu_smmu_translate(&smmu, STREAM_ID, &context);
}

static bool dma_is_right(void)
{
	if (!is_mapped(IOVA_FROM, from) || !is_mapped(IOVA_TO, to) || !is_attached()) {
		print("the device is not attached\n");
		return false;
	}
	if (!moves("its own addresses", IOVA_FROM, IOVA_TO) ||
	    moves("an unmapped target", IOVA_FROM, IOVA_NOBODY) ||
	    moves("an unmapped source", IOVA_NOBODY, IOVA_TO) ||
	    moves("physical addresses", (uintptr_t)from, (uintptr_t)to))
		return false;

	return !viommu_smmu_unmap(&smmu, ROOT, ASID, IOVA_TO, PAGE) && is_mapped(IOVA_NOBODY, to) &&
	       moves("changed addresses", IOVA_FROM, IOVA_NOBODY);
}
#else
static bool dma_is_right(void)
{
	return moves("guest addresses", (uintptr_t)from, (uintptr_t)to);
}
#endif

void main(void)
{
	bool right;

	print("guest starts\n");
	if (!edu_answers()) {
		print("FAIL: no edu\n");
		return;
	}
	right = takes_its_interrupt();
	right &= dma_is_right();
	print(right ? "PASS\n" : "FAIL\n");
}
