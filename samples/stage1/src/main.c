/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A passed-through device reaches memory by addresses that this guest has chosen. Where the vSMMU
 * is, which stream IDs the device has and which interrupt tells of faults: all from the devicetree
 * that west-viommu bound.
 */
#include <string.h>

#include <zephyr/irq.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/barrier.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/printk.h>
#include <zephyr/sys/util.h>
#include <viommu/devicetree.h>

#include "edu.h"
#include "stage1.h"

#define EDU   DT_NODELABEL(edu)
#define VSMMU VIOMMU_DT_VSMMU(EDU, 0)

/* Xen's vSMMU has one interrupt for all; QEMU's SMMU has one for the event queue alone. */
#define FAULTS COND_CODE_1(DT_IRQ_HAS_NAME(VSMMU, combined), (combined), (eventq))

/* A device sees all of a page that is mapped for it: nothing else may lie there. */
static uint8_t from[STAGE1_PAGE_SIZE] __aligned(STAGE1_PAGE_SIZE);
static uint8_t to[STAGE1_PAGE_SIZE] __aligned(STAGE1_PAGE_SIZE);

#define IOVA_FROM   (STAGE1_IOVA + 0x5000)
#define IOVA_TO     (STAGE1_IOVA + 0x9000)
#define IOVA_NOBODY (STAGE1_IOVA + 0x7000)

/* A fault comes for each access that the device tries; those that find no room are more of them. */
K_MSGQ_DEFINE(faults, sizeof(struct stage1_fault), 16, sizeof(uint64_t));

static void on_fault(const void *unused)
{
	struct stage1_fault fault;

	ARG_UNUSED(unused);
	while (stage1_next_fault(&fault)) {
		(void)k_msgq_put(&faults, &fault, K_NO_WAIT);
	}
}

static void print_faults(void)
{
	struct stage1_fault fault;
	struct stage1_fault told = {0};

	while (k_msgq_get(&faults, &fault, K_NO_WAIT) == 0) {
		fault.address = ROUND_DOWN(fault.address, STAGE1_PAGE_SIZE);
		if (fault.event != told.event || fault.address != told.address) {
			printk("  event 0x%x of stream 0x%x for 0x%llx\n", fault.event,
			       fault.stream, (unsigned long long)fault.address);
		}
		told = fault;
	}
}

static bool start_stage1(void)
{
	mm_reg_t vsmmu;

	device_map(&vsmmu, DT_REG_ADDR(VSMMU), DT_REG_SIZE(VSMMU), K_MEM_CACHE_NONE);
	IRQ_CONNECT(DT_IRQ_BY_NAME(VSMMU, FAULTS, irq), DT_IRQ_BY_NAME(VSMMU, FAULTS, priority),
		    on_fault, NULL, DT_IRQ_BY_NAME(VSMMU, FAULTS, flags));
	if (!stage1_enable(vsmmu)) {
		return false;
	}
	irq_enable(DT_IRQ_BY_NAME(VSMMU, FAULTS, irq));

	/* Each of the device's streams, and the same tables for all: Xen has one setting a device. */
#define AND_ATTACHED(node_id, prop, idx) && stage1_attach(VIOMMU_DT_STREAM_ID(node_id, idx))
	return true DT_FOREACH_PROP_ELEM(EDU, iommus, AND_ATTACHED);
}

static bool copies(const char *by, uint64_t source, uint64_t target)
{
	static uint8_t turn;
	bool right;

	turn++;
	for (size_t i = 0; i < EDU_COPY_MAX; i++) {
		from[i] = i * 7 + turn;
	}
	memset(to, 0, sizeof(to));
	barrier_dsync_fence_full();
	right = edu_copy(source, target, EDU_COPY_MAX) && !memcmp(from, to, EDU_COPY_MAX);
	printk("by %s: %s\n", by, right ? "all bytes moved" : "not moved");
	print_faults();
	return right;
}

int main(void)
{
	bool right;

	if (!edu_init()) {
		printk("FAIL: no edu\n");
		return 0;
	}
	printk("%s: streams %u, the first 0x%x, behind %s\n", DT_NODE_PATH(EDU),
	       VIOMMU_DT_NUM_STREAMS(EDU), VIOMMU_DT_STREAM_ID(EDU, 0), DT_NODE_PATH(VSMMU));

	stage1_map(IOVA_FROM, (uintptr_t)from);
	stage1_map(IOVA_TO, (uintptr_t)to);
	if (!start_stage1()) {
		printk("FAIL: the vSMMU at 0x%llx does not do as it should\n",
		       (unsigned long long)DT_REG_ADDR(VSMMU));
		return 0;
	}
	right = copies("its own addresses", IOVA_FROM, IOVA_TO);
	right &= !copies("an address that is not mapped", IOVA_FROM, IOVA_NOBODY);
	right &= !copies("the guest's addresses", (uintptr_t)from, (uintptr_t)to);

	stage1_unmap(IOVA_TO);
	stage1_map(IOVA_NOBODY, (uintptr_t)to);
	right &= stage1_forget();
	right &= copies("addresses that changed", IOVA_FROM, IOVA_NOBODY);
	printk(right ? "PASS\n" : "FAIL\n");
	return 0;
}
