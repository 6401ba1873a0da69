/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A passthrough device reaches memory by addresses that this guest has chosen, and nothing else.
 * Where the vSMMU is and which stream IDs the device has comes from the devicetree that
 * west-viommu bound.
 */
#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/barrier.h>
#include <zephyr/sys/printk.h>
#include <viommu/devicetree.h>
#include <viommu/stage1.h>

#include "edu.h"

#define EDU       DT_NODELABEL(edu)
#define PAGE_SIZE VIOMMU_STAGE1_PAGE_SIZE

/* A device sees all of a page that is mapped for it: nothing else may lie there. */
static uint8_t from[PAGE_SIZE] __aligned(PAGE_SIZE);
static uint8_t to[PAGE_SIZE] __aligned(PAGE_SIZE);

#define IOVA_FROM  0x4000005000ULL
#define IOVA_TO    0x4000009000ULL
#define IOVA_OTHER 0x4000007000ULL

static const struct viommu_dt_spec stream = VIOMMU_DT_SPEC_GET(EDU);
static struct edu edu = EDU_DT_GET(EDU);
static atomic_t faults;

/* In an interrupt; the driver has logged the fault. */
static void on_fault(const struct viommu_stage1_fault *fault, void *user_data)
{
	ARG_UNUSED(fault);
	ARG_UNUSED(user_data);
	atomic_inc(&faults);
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
	atomic_clear(&faults);
	barrier_dsync_fence_full();
	right = edu_copy(&edu, source, target, EDU_COPY_MAX) && !memcmp(from, to, EDU_COPY_MAX);
	printk("by %s: %s, %s\n", by, right ? "all bytes moved" : "not moved",
	       atomic_get(&faults) ? "faults" : "no fault");
	return right;
}

static int start(void)
{
	int ret = viommu_stage1_map(&stream, IOVA_FROM, (uintptr_t)from, PAGE_SIZE);

	ret = ret ? ret : viommu_stage1_map(&stream, IOVA_TO, (uintptr_t)to, PAGE_SIZE);
	return ret ? ret : viommu_stage1_attach(&stream, on_fault, NULL);
}

static int move_target(void)
{
	int ret = viommu_stage1_unmap(&stream, IOVA_TO, PAGE_SIZE);

	return ret ? ret : viommu_stage1_map(&stream, IOVA_OTHER, (uintptr_t)to, PAGE_SIZE);
}

int main(void)
{
	bool right;
	int ret;

	if (!edu_init(&edu)) {
		printk("FAIL: no edu\n");
		return 0;
	}
	printk("%s: streams %u, the first 0x%x, behind %s\n", DT_NODE_PATH(EDU),
	       VIOMMU_DT_NUM_STREAMS(EDU), stream.stream_id, DT_NODE_PATH(VIOMMU_DT_VSMMU(EDU, 0)));

	ret = start();
	if (ret) {
		printk("FAIL: the device is not attached (%d)\n", ret);
		return 0;
	}
	right = copies("its own addresses", IOVA_FROM, IOVA_TO);
	right &= !copies("an address that is not mapped", IOVA_FROM, IOVA_OTHER);
	right &= !copies("the guest's addresses", (uintptr_t)from, (uintptr_t)to);
	right &= move_target() == 0;
	right &= copies("addresses that changed", IOVA_FROM, IOVA_OTHER);
	printk(right ? "PASS\n" : "FAIL\n");
	return 0;
}
