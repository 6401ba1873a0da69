/* SPDX-License-Identifier: Apache-2.0 */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>
#include <viommu/devicetree.h>

#define ETHERNET DT_PATH(passthrough, ethernet_e0100000)
#define DMA      DT_PATH(passthrough, dma_controller_e0200000)

/* What the host tree says, held against the image when it is built. */
BUILD_ASSERT(VIOMMU_DT_NUM_STREAMS(ETHERNET) == 1);
BUILD_ASSERT(VIOMMU_DT_STREAM_ID(ETHERNET, 0) == 0x40);
BUILD_ASSERT(VIOMMU_DT_NUM_STREAMS(DMA) == 2);
BUILD_ASSERT(VIOMMU_DT_STREAM_ID(DMA, 0) == 0x48);
BUILD_ASSERT(VIOMMU_DT_STREAM_ID(DMA, 1) == 0x49);
BUILD_ASSERT(DT_IRQ_BY_IDX(DMA, 1, irq) == 93);
BUILD_ASSERT(DT_SAME_NODE(VIOMMU_DT_VSMMU(ETHERNET, 0), VIOMMU_DT_VSMMU(DMA, 1)));

#define PRINT_REGION(idx, node_id)                                                                 \
	printk("  region     0x%llx, 0x%llx bytes\n",                                              \
	       (unsigned long long)DT_REG_ADDR_BY_IDX(node_id, idx),                               \
	       (unsigned long long)DT_REG_SIZE_BY_IDX(node_id, idx));

/* Zephyr has added the 32 to the number of an SPI. */
#define PRINT_INTERRUPT(idx, node_id)                                                              \
	printk("  interrupt  INTID %d\n", DT_IRQ_BY_IDX(node_id, idx, irq));

#define PRINT_STREAM(node_id, prop, idx)                                                           \
	printk("  stream     0x%x behind the vSMMU at 0x%llx\n",                                   \
	       VIOMMU_DT_STREAM_ID(node_id, idx),                                                  \
	       (unsigned long long)DT_REG_ADDR(VIOMMU_DT_VSMMU(node_id, idx)));

#define PRINT_DEVICE(node_id)                                                                      \
	printk("%s\n", DT_NODE_PATH(node_id));                                                     \
	LISTIFY(DT_NUM_REGS(node_id), PRINT_REGION, (), node_id)                                   \
	LISTIFY(DT_NUM_IRQS(node_id), PRINT_INTERRUPT, (), node_id)                                \
	IF_ENABLED(VIOMMU_DT_HAS_STREAMS(node_id),                                                 \
		   (DT_FOREACH_PROP_ELEM(node_id, iommus, PRINT_STREAM)))

int main(void)
{
	DT_FOREACH_CHILD(VIOMMU_PASSTHROUGH, PRINT_DEVICE)
	return 0;
}
