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
#include "stage1.h"
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
/* The device asks again and again; a page is told once. */
static void print_faults(void)
{
	struct stage1_fault fault;
	struct stage1_fault told = {0};

	while (stage1_next_fault(&fault)) {
		fault.address &= ~(PAGE - 1UL);
		if (fault.event == told.event && fault.stream == told.stream &&
		    fault.address == told.address)
			continue;
		told = fault;
		print("event ");
		print_number(fault.event, 16);
		print(" of stream ");
		print_number(fault.stream, 16);
		print(" for ");
		print_number(fault.address, 16);
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
#define IOVA_FROM   (STAGE1_IOVA + 0x5000)
#define IOVA_TO     (STAGE1_IOVA + 0x9000)
#define IOVA_NOBODY (STAGE1_IOVA + 0x7000)

static bool dma_is_right(void)
{
	stage1_map(IOVA_FROM, (uintptr_t)from);
	stage1_map(IOVA_TO, (uintptr_t)to);
	if (!stage1_enable(SMMU) || !stage1_attach(STREAM_ID)) {
		print("the SMMU does not answer\n");
		return false;
	}
	if (!moves("its own addresses", IOVA_FROM, IOVA_TO) ||
	    moves("an unmapped target", IOVA_FROM, IOVA_NOBODY) ||
	    moves("an unmapped source", IOVA_NOBODY, IOVA_TO) ||
	    moves("physical addresses", (uintptr_t)from, (uintptr_t)to))
		return false;

	stage1_unmap(IOVA_TO);
	stage1_map(IOVA_NOBODY, (uintptr_t)to);
	return stage1_forget() && moves("changed addresses", IOVA_FROM, IOVA_NOBODY);
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
