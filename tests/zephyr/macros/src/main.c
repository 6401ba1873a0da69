/* SPDX-License-Identifier: Apache-2.0 */
/* Everything here is checked when it is compiled. */
#include <zephyr/sys/util.h>
#include <zephyr/toolchain.h>
#include <viommu/devicetree.h>

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

int main(void)
{
	return 0;
}
