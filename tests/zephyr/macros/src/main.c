/* SPDX-License-Identifier: Apache-2.0 */
/* Everything here is checked when it is compiled. */
#include <zephyr/sys/util.h>
#include <zephyr/toolchain.h>
#include <viommu/devicetree.h>

#define DT_DRV_COMPAT arm_pl330

#define DMA   DT_NODELABEL(dma)
#define PLAIN DT_NODELABEL(plain)

BUILD_ASSERT(VIOMMU_DT_HAS_STREAMS(DMA));
BUILD_ASSERT(VIOMMU_DT_NUM_STREAMS(DMA) == 2);
BUILD_ASSERT(VIOMMU_DT_STREAM_ID(DMA, 0) == 0x48);
BUILD_ASSERT(VIOMMU_DT_STREAM_ID(DMA, 1) == 0x49);
BUILD_ASSERT(DT_SAME_NODE(VIOMMU_DT_VSMMU(DMA, 0), DT_NODELABEL(vsmmu)));
BUILD_ASSERT(DT_REG_ADDR(VIOMMU_DT_VSMMU(DMA, 1)) == 0x4040000);
BUILD_ASSERT(DT_IRQN(VIOMMU_DT_VSMMU(DMA, 1)) == 33);

BUILD_ASSERT(!VIOMMU_DT_HAS_STREAMS(PLAIN));
BUILD_ASSERT(VIOMMU_DT_NUM_STREAMS(PLAIN) == 0);

BUILD_ASSERT(VIOMMU_DT_INST_HAS_STREAMS(0));
BUILD_ASSERT(VIOMMU_DT_INST_NUM_STREAMS(0) == 2);
BUILD_ASSERT(VIOMMU_DT_INST_STREAM_ID(0, 1) == 0x49);
BUILD_ASSERT(DT_SAME_NODE(VIOMMU_DT_INST_VSMMU(0, 1), DT_NODELABEL(vsmmu)));

#define PLUS_ID(node_id, prop, idx)            +VIOMMU_DT_STREAM_ID(node_id, idx)
#define PLUS_ID_TIMES(node_id, prop, idx, by) +VIOMMU_DT_STREAM_ID(node_id, idx) * (by)

BUILD_ASSERT((0 VIOMMU_DT_FOREACH_STREAM(DMA, PLUS_ID)) == 0x48 + 0x49);
BUILD_ASSERT((0 VIOMMU_DT_INST_FOREACH_STREAM(0, PLUS_ID)) == 0x48 + 0x49);
BUILD_ASSERT((0 VIOMMU_DT_FOREACH_STREAM_VARGS(DMA, PLUS_ID_TIMES, 2)) == 2 * (0x48 + 0x49));
BUILD_ASSERT((0 VIOMMU_DT_INST_FOREACH_STREAM_VARGS(0, PLUS_ID_TIMES, 2)) == 2 * (0x48 + 0x49));
BUILD_ASSERT((0 VIOMMU_DT_FOREACH_STREAM(PLAIN, PLUS_ID)) == 0);

static const struct viommu_dt_spec first = VIOMMU_DT_SPEC_GET(DMA);
static const struct viommu_dt_spec second = VIOMMU_DT_SPEC_INST_GET_BY_IDX(0, 1);
static const struct viommu_dt_spec all[] = VIOMMU_DT_SPECS_GET(DMA);
static const struct viommu_dt_spec first_by_instance = VIOMMU_DT_SPEC_INST_GET(0);
static const struct viommu_dt_spec all_by_instance[] = VIOMMU_DT_SPECS_INST_GET(0);

BUILD_ASSERT(ARRAY_SIZE(all) == 2);
BUILD_ASSERT(ARRAY_SIZE(all_by_instance) == 2);

/* Defined nowhere: the linker complains unless the compiler sees that all is right. */
void wrong(void);

int main(void)
{
	if (first.vsmmu != 0x4040000 || first.stream_id != 0x48 || second.stream_id != 0x49 ||
	    all[1].vsmmu != 0x4040000 || all[0].stream_id != 0x48 || all[1].stream_id != 0x49 ||
	    first_by_instance.stream_id != 0x48 || all_by_instance[1].stream_id != 0x49) {
		wrong();
	}
	return 0;
}
