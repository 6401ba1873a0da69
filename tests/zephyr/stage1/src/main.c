/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two devices behind the SMMU of QEMU's machine: `near` has the stream 0x10. `far` has 0xfff8 and
 * 0xfff0, and its DMA goes by the second.
 */
#include <errno.h>
#include <string.h>

#include <zephyr/sys/barrier.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/sys_io.h>
#include <zephyr/sys/util.h>
#include <zephyr/ztest.h>
#include <viommu/devicetree.h>
#include <viommu/stage1.h>

#include "edu.h"

#define NEAR  DT_NODELABEL(near)
#define FAR   DT_NODELABEL(far)
#define PAGE  VIOMMU_STAGE1_PAGE_SIZE
#define IOVA  0x4000005000ULL
#define OTHER 0x4000100000ULL

#define F_TRANSLATION 0x10
#define C_BAD_STE     0x04

/* Where there is one setting for each device, one stream of `far` is set up: the first. */
#define FAR_MOVES DT_ENUM_HAS_VALUE(DT_NODELABEL(vsmmu), viommu_stage1_settings, stream)

static const struct viommu_dt_spec near_stream = VIOMMU_DT_SPEC_GET(NEAR);
static const struct viommu_dt_spec far_stream = VIOMMU_DT_SPEC_GET(FAR);
static const struct viommu_dt_spec far_second = VIOMMU_DT_SPEC_GET_BY_IDX(FAR, 1);
static struct edu near_edu = EDU_DT_GET(NEAR);
static struct edu far_edu = EDU_DT_GET(FAR);

static uint8_t near_from[PAGE] __aligned(PAGE);
static uint8_t near_to[PAGE] __aligned(PAGE);
static uint8_t far_from[PAGE] __aligned(PAGE);
static uint8_t far_to[PAGE] __aligned(PAGE);

static struct viommu_stage1_fault near_fault;
static struct viommu_stage1_fault far_fault;
static atomic_t near_faults;
static atomic_t far_faults;

static void on_near_fault(const struct viommu_stage1_fault *fault, void *user_data)
{
	near_fault = *fault;
	atomic_inc(user_data);
}

static void on_far_fault(const struct viommu_stage1_fault *fault, void *user_data)
{
	far_fault = *fault;
	atomic_inc(user_data);
}

static void fill(void)
{
	static uint8_t turn;

	turn += 2;
	for (size_t i = 0; i < PAGE; i++) {
		near_from[i] = i * 7 + turn;
		far_from[i] = i * 7 + turn + 1;
	}
	memset(near_to, 0, PAGE);
	memset(far_to, 0, PAGE);
	atomic_clear(&near_faults);
	atomic_clear(&far_faults);
	barrier_dsync_fence_full();
}

static bool is_copied(const uint8_t *from, const uint8_t *to)
{
	return memcmp(from, to, EDU_COPY_MAX) == 0;
}

static bool is_untouched(const uint8_t *page)
{
	for (size_t i = 0; i < PAGE; i++) {
		if (page[i]) {
			return false;
		}
	}
	return true;
}

/* Let the bridge before `far` take bus 255, and pass on what is for the registers of `far`. */
static void set_bridge(void)
{
	uint32_t window = DT_REG_ADDR(FAR) >> 16;
	mm_reg_t bridge;

	device_map(&bridge, DT_REG_ADDR_BY_IDX(FAR, 2), DT_REG_SIZE_BY_IDX(FAR, 2),
		   K_MEM_CACHE_NONE);
	sys_write32(0x00ffff00, bridge + 0x18);          /* bus numbers */
	sys_write32(window << 16 | window, bridge + 0x20); /* memory limit and base */
	sys_write32(BIT(1) | BIT(2), bridge + 0x04);     /* command: memory, bus master */
}

/* Each device gets its own two pages, at the same addresses. */
static void *attach(void)
{
	set_bridge();
	zassert_true(edu_init(&near_edu));
	zassert_true(edu_init(&far_edu));

	fill();
	zassert_true(edu_copy(&near_edu, (uintptr_t)near_from, (uintptr_t)near_to, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to), "an SMMU lets nothing pass before the device is attached");

	zassert_ok(viommu_stage1_map(&near_stream, IOVA, (uintptr_t)near_from, PAGE));
	zassert_ok(viommu_stage1_map(&near_stream, IOVA + PAGE, (uintptr_t)near_to, PAGE));
	zassert_ok(viommu_stage1_map(&far_second, IOVA, (uintptr_t)far_from, PAGE));
	zassert_ok(viommu_stage1_map(&far_stream, IOVA + PAGE, (uintptr_t)far_to, PAGE));
	zassert_ok(viommu_stage1_attach(&near_stream, on_near_fault, &near_faults));

	/* One device is attached: not the other. */
	zassert_true(edu_copy(&far_edu, IOVA, IOVA + PAGE, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to) && is_untouched(far_to));
	zassert_equal(atomic_get(&near_faults), 0);
	zassert_ok(viommu_stage1_attach(&far_second, on_far_fault, &far_faults));
	return NULL;
}

static void before(void *fixture)
{
	ARG_UNUSED(fixture);
	fill();
}

ZTEST_SUITE(viommu_stage1, NULL, attach, before, NULL, NULL);

ZTEST(viommu_stage1, test_each_device_reaches_its_own_memory_alone)
{
	zassert_true(edu_copy(&near_edu, IOVA, IOVA + PAGE, EDU_COPY_MAX));
	zassert_true(is_copied(near_from, near_to));
	zassert_true(is_untouched(far_to));
	zassert_equal(atomic_get(&near_faults), 0);

	memset(near_to, 0, PAGE);
	zassert_true(edu_copy(&far_edu, IOVA, IOVA + PAGE, EDU_COPY_MAX));
	zassert_equal(is_copied(far_from, far_to), FAR_MOVES);
	zassert_true(is_untouched(near_to));
	zassert_equal(atomic_get(&far_faults) == 0, FAR_MOVES);
	if (!FAR_MOVES) {
		zassert_equal(far_fault.type, C_BAD_STE);
		zassert_equal(far_fault.stream_id, 0xfff0);
	}
}

ZTEST(viommu_stage1, test_what_one_device_has_the_other_does_not_reach)
{
	zassert_ok(viommu_stage1_map(&near_stream, OTHER, (uintptr_t)near_to, PAGE));
	zassert_true(edu_copy(&far_edu, IOVA, OTHER, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to));
	zassert_equal(atomic_get(&near_faults), 0);
	zassert_true(atomic_get(&far_faults) > 0);
	zassert_str_equal(far_fault.node, "/passthrough/far@10100000");
	zassert_equal(far_fault.stream_id, 0xfff0);
	if (FAR_MOVES) {
		zassert_equal(far_fault.type, F_TRANSLATION);
		zassert_equal(ROUND_DOWN(far_fault.address, PAGE), OTHER);
	}

	zassert_true(edu_copy(&near_edu, IOVA, OTHER, EDU_COPY_MAX));
	zassert_true(is_copied(near_from, near_to));
	zassert_ok(viommu_stage1_unmap(&near_stream, OTHER, PAGE));
}

ZTEST(viommu_stage1, test_the_guests_own_addresses_are_not_mapped)
{
	zassert_true(edu_copy(&near_edu, IOVA, (uintptr_t)near_to, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to));
	zassert_true(atomic_get(&near_faults) > 0);
	zassert_str_equal(near_fault.node, "/passthrough/near@10000000");
	zassert_equal(near_fault.type, F_TRANSLATION);
	zassert_equal(near_fault.stream_id, 0x10);
	zassert_equal(ROUND_DOWN(near_fault.address, PAGE), (uintptr_t)near_to);
}

ZTEST(viommu_stage1, test_what_is_unmapped_is_gone_at_once)
{
	zassert_ok(viommu_stage1_map(&near_stream, OTHER, (uintptr_t)near_to, PAGE));
	zassert_true(edu_copy(&near_edu, IOVA, OTHER, EDU_COPY_MAX));
	zassert_true(is_copied(near_from, near_to));
	zassert_equal(atomic_get(&near_faults), 0);

	memset(near_to, 0, PAGE);
	zassert_ok(viommu_stage1_unmap(&near_stream, OTHER, PAGE));
	zassert_true(edu_copy(&near_edu, IOVA, OTHER, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to));
	zassert_equal(ROUND_DOWN(near_fault.address, PAGE), OTHER);

	/* Mapped to another page, the address is that page. */
	zassert_ok(viommu_stage1_map(&near_stream, OTHER, (uintptr_t)far_to, PAGE));
	zassert_true(edu_copy(&near_edu, IOVA, OTHER, EDU_COPY_MAX));
	zassert_true(is_untouched(near_to));
	zassert_true(is_copied(near_from, far_to));
	zassert_ok(viommu_stage1_unmap(&near_stream, OTHER, PAGE));
}

ZTEST(viommu_stage1, test_a_device_is_attached_once)
{
	zassert_equal(viommu_stage1_attach(&near_stream, NULL, NULL), -EALREADY);
	zassert_equal(viommu_stage1_attach(&far_second, NULL, NULL), -EALREADY);
	zassert_equal(viommu_stage1_attach(&far_stream, NULL, NULL), -EALREADY);
}

ZTEST(viommu_stage1, test_streams_of_no_device)
{
	struct viommu_dt_spec other = near_stream;

	other.stream_id = 0x18;
	zassert_equal(viommu_stage1_attach(&other, NULL, NULL), -ENODEV);
	zassert_equal(viommu_stage1_map(&other, OTHER, 0, PAGE), -ENODEV);
	zassert_equal(viommu_stage1_unmap(&other, OTHER, PAGE), -ENODEV);
	other = near_stream;
	other.vsmmu += 0x1000;
	zassert_equal(viommu_stage1_map(&other, OTHER, 0, PAGE), -ENODEV);
}

ZTEST(viommu_stage1, test_ranges_that_cannot_be_mapped)
{
	static const struct {
		uint64_t iova;
		uint64_t physical;
		size_t size;
		int error;
	} cases[] = {
		{OTHER, 0x1000, 0, -EINVAL},
		{OTHER, 0x1000, PAGE - 1, -EINVAL},
		{OTHER + 1, 0x1000, PAGE, -EINVAL},
		{OTHER, 0x1001, PAGE, -EINVAL},
		{VIOMMU_STAGE1_IOVA_END, 0x1000, PAGE, -EINVAL},
		{VIOMMU_STAGE1_IOVA_END - PAGE, 0x1000, 2 * PAGE, -EINVAL},
		{OTHER, BIT64(48), PAGE, -EINVAL},
		{OTHER, 0x1000, SIZE_MAX & ~(PAGE - 1), -EINVAL},
		{IOVA, 0x1000, PAGE, -EEXIST},
		{IOVA - PAGE, 0x1000, 2 * PAGE, -EEXIST},
		/* The two devices have two tables each. One is left: two are needed. */
		{0, 0x1000, PAGE, -ENOMEM},
		{IOVA + MB(2), 0, MB(4), -ENOMEM},
		{0, 0, VIOMMU_STAGE1_IOVA_END, -ENOMEM},
	};

	ARRAY_FOR_EACH_PTR(cases, each) {
		zassert_equal(viommu_stage1_map(&near_stream, each->iova, each->physical,
						each->size), each->error, "case %td", each - cases);
	}
	zassert_equal(viommu_stage1_unmap(&near_stream, OTHER, PAGE), -ENOENT);
	zassert_equal(viommu_stage1_unmap(&near_stream, IOVA - PAGE, PAGE), -ENOENT);
	zassert_equal(viommu_stage1_unmap(&near_stream, IOVA + PAGE, 2 * PAGE), -ENOENT);
	zassert_equal(viommu_stage1_unmap(&near_stream, IOVA, PAGE + 1), -EINVAL);

	/* What was refused has changed nothing, nor taken the table that is left. */
	zassert_ok(viommu_stage1_map(&near_stream, IOVA + MB(2), (uintptr_t)near_from, PAGE));
	zassert_equal(viommu_stage1_map(&near_stream, IOVA + MB(4), 0x1000, PAGE), -ENOMEM);
	zassert_ok(viommu_stage1_unmap(&near_stream, IOVA + MB(2), PAGE));
	zassert_true(edu_copy(&near_edu, IOVA, IOVA + PAGE, EDU_COPY_MAX));
	zassert_true(is_copied(near_from, near_to));
}
