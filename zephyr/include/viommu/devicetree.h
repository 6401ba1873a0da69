/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the devicetree says of a device behind the virtual SMMUv3 (vSMMU) of a Xen guest.
 *
 * `iommus` of a device has one entry for each of its streams: the vSMMU and a stream ID, which is
 * the vMasterID, the number that the guest programs into its vSMMU. All of this is known when the
 * image is built.
 */
#ifndef VIOMMU_DEVICETREE_H_
#define VIOMMU_DEVICETREE_H_

#include <zephyr/devicetree.h>

/*
 * How the binding of arm,smmu-v3 calls the cell of a stream ID. zephyr/CMakeLists.txt defines it where a
 * build has a binding of its own that calls it otherwise.
 */
#ifndef VIOMMU_STREAM_CELL
#define VIOMMU_STREAM_CELL stream_id
#endif

/** The bus of the devices that are assigned to this guest. */
#define VIOMMU_PASSTHROUGH DT_PATH(passthrough)

/**
 * 1 if the device has streams behind a vSMMU, else 0.
 * @param node_id node of the device
 */
#define VIOMMU_DT_HAS_STREAMS(node_id) DT_NODE_HAS_PROP(node_id, iommus)

/**
 * How many streams the device has; 0 for one that is behind no vSMMU.
 * @param node_id node of the device
 */
#define VIOMMU_DT_NUM_STREAMS(node_id) DT_PROP_LEN_OR(node_id, iommus, 0)

/**
 * The stream ID (vMasterID) of a stream of the device.
 * @param node_id node of the device
 * @param idx     which stream, below VIOMMU_DT_NUM_STREAMS(node_id)
 */
#define VIOMMU_DT_STREAM_ID(node_id, idx) DT_PHA_BY_IDX(node_id, iommus, idx, VIOMMU_STREAM_CELL)

/**
 * The node of the vSMMU that a stream of the device is behind.
 * @param node_id node of the device
 * @param idx     which stream, below VIOMMU_DT_NUM_STREAMS(node_id)
 */
#define VIOMMU_DT_VSMMU(node_id, idx) DT_PHANDLE_BY_IDX(node_id, iommus, idx)

#endif /* VIOMMU_DEVICETREE_H_ */
