/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * @brief What the devicetree says of a device behind the virtual SMMUv3 (vSMMU) of a Xen guest.
 */
#ifndef VIOMMU_DEVICETREE_H_
#define VIOMMU_DEVICETREE_H_

#include <stdint.h>

#include <zephyr/devicetree.h>
#include <zephyr/sys/util_macro.h>

/**
 * @defgroup viommu_devicetree Streams of passthrough devices
 *
 * `iommus` of a device has one entry for each of its streams: the vSMMU and a stream ID, which is
 * the vMasterID, the number that the guest programs into its vSMMU. All of this is known when the
 * image is built.
 *
 * @{
 */

/**
 * @brief How the binding of the vSMMU calls the cell of a stream ID.
 *
 * zephyr/CMakeLists.txt defines it where a build has a binding of its own that calls it otherwise.
 */
#ifndef VIOMMU_STREAM_CELL
#define VIOMMU_STREAM_CELL stream_id
#endif

/** @brief The bus of the devices that are assigned to this guest. */
#define VIOMMU_PASSTHROUGH DT_PATH(passthrough)

/**
 * @brief Whether the device has streams behind a vSMMU.
 * @param node_id node of the device
 * @return 1 if it has any, else 0
 */
#define VIOMMU_DT_HAS_STREAMS(node_id) DT_NODE_HAS_PROP(node_id, iommus)

/**
 * @brief How many streams the device has.
 * @param node_id node of the device
 * @return their number; 0 for a device that is behind no vSMMU
 */
#define VIOMMU_DT_NUM_STREAMS(node_id) DT_PROP_LEN_OR(node_id, iommus, 0)

/**
 * @brief The stream ID (vMasterID) of a stream of the device.
 * @param node_id node of the device
 * @param idx     which stream, below VIOMMU_DT_NUM_STREAMS(node_id)
 */
#define VIOMMU_DT_STREAM_ID(node_id, idx) DT_PHA_BY_IDX(node_id, iommus, idx, VIOMMU_STREAM_CELL)

/**
 * @brief The node of the vSMMU that a stream of the device is behind.
 * @param node_id node of the device
 * @param idx     which stream, below VIOMMU_DT_NUM_STREAMS(node_id)
 */
#define VIOMMU_DT_VSMMU(node_id, idx) DT_PHANDLE_BY_IDX(node_id, iommus, idx)

/**
 * @brief Expand @p fn once for each stream of the device; to nothing where it has none.
 *
 * To look streams up, not to set them up: a Xen with one setting of stage 1 for each device
 * (viommu,stage1-settings of the vSMMU) can stop when a guest sets up a second stream of a device.
 * A driver for the vSMMU sets up VIOMMU_DT_SPEC_GET(), once; viommu_stage1_attach() does so.
 * @param node_id node of the device
 * @param fn      macro that takes (node_id, prop, idx), as with DT_FOREACH_PROP_ELEM(): the node,
 *                `iommus`, and which stream
 */
#define VIOMMU_DT_FOREACH_STREAM(node_id, fn)                                                      \
	IF_ENABLED(VIOMMU_DT_HAS_STREAMS(node_id), (DT_FOREACH_PROP_ELEM(node_id, iommus, fn)))

/**
 * @brief Expand @p fn with more arguments once for each stream of the device.
 * @param node_id node of the device
 * @param fn      macro that takes (node_id, prop, idx, ...)
 * @param ...     what it gets after these
 */
#define VIOMMU_DT_FOREACH_STREAM_VARGS(node_id, fn, ...)                                           \
	IF_ENABLED(VIOMMU_DT_HAS_STREAMS(node_id),                                                 \
		   (DT_FOREACH_PROP_ELEM_VARGS(node_id, iommus, fn, __VA_ARGS__)))

/**
 * @brief A stream of a device, for the configuration of its driver.
 *
 * <viommu/stage1.h> takes one; without CONFIG_VIOMMU_STAGE1 there is no driver for the vSMMU.
 */
struct viommu_dt_spec {
	/** Address of the registers of the vSMMU. */
	uintptr_t vsmmu;
	/** The stream ID (vMasterID). */
	uint32_t stream_id;
};

/**
 * @brief Initializer of a struct viommu_dt_spec.
 * @param node_id node of the device
 * @param idx     which stream, below VIOMMU_DT_NUM_STREAMS(node_id)
 */
#define VIOMMU_DT_SPEC_GET_BY_IDX(node_id, idx)                                                    \
	{                                                                                          \
		.vsmmu = DT_REG_ADDR(VIOMMU_DT_VSMMU(node_id, idx)),                               \
		.stream_id = VIOMMU_DT_STREAM_ID(node_id, idx),                                    \
	}

/**
 * @brief Initializer of a struct viommu_dt_spec, for the first stream: the one to set up.
 * @param node_id node of the device, which has a stream
 */
#define VIOMMU_DT_SPEC_GET(node_id) VIOMMU_DT_SPEC_GET_BY_IDX(node_id, 0)

/**
 * @brief Initializer of an array of struct viommu_dt_spec, with all streams: to look them up, as with
 * VIOMMU_DT_FOREACH_STREAM().
 *
 * @code{.c}
 * static const struct viommu_dt_spec streams[] = VIOMMU_DT_SPECS_GET(DT_NODELABEL(dma));
 * @endcode
 *
 * @param node_id node of the device, which has a stream
 */
#define VIOMMU_DT_SPECS_GET(node_id)                                                               \
	{                                                                                          \
		VIOMMU_DT_FOREACH_STREAM(node_id, Z_VIOMMU_DT_SPEC_AND_COMMA)                      \
	}

/** @cond INTERNAL_HIDDEN */
#define Z_VIOMMU_DT_SPEC_AND_COMMA(node_id, prop, idx) VIOMMU_DT_SPEC_GET_BY_IDX(node_id, idx),
/** @endcond */

/**
 * @name By instance of DT_DRV_COMPAT
 *
 * Like those without INST, with the number of an instance in place of a node.
 * @{
 */

/** @brief VIOMMU_DT_HAS_STREAMS() of an instance. */
#define VIOMMU_DT_INST_HAS_STREAMS(inst) VIOMMU_DT_HAS_STREAMS(DT_DRV_INST(inst))

/** @brief VIOMMU_DT_NUM_STREAMS() of an instance. */
#define VIOMMU_DT_INST_NUM_STREAMS(inst) VIOMMU_DT_NUM_STREAMS(DT_DRV_INST(inst))

/** @brief VIOMMU_DT_STREAM_ID() of an instance. */
#define VIOMMU_DT_INST_STREAM_ID(inst, idx) VIOMMU_DT_STREAM_ID(DT_DRV_INST(inst), idx)

/** @brief VIOMMU_DT_VSMMU() of an instance. */
#define VIOMMU_DT_INST_VSMMU(inst, idx) VIOMMU_DT_VSMMU(DT_DRV_INST(inst), idx)

/** @brief VIOMMU_DT_FOREACH_STREAM() of an instance. */
#define VIOMMU_DT_INST_FOREACH_STREAM(inst, fn) VIOMMU_DT_FOREACH_STREAM(DT_DRV_INST(inst), fn)

/** @brief VIOMMU_DT_FOREACH_STREAM_VARGS() of an instance. */
#define VIOMMU_DT_INST_FOREACH_STREAM_VARGS(inst, fn, ...)                                         \
	VIOMMU_DT_FOREACH_STREAM_VARGS(DT_DRV_INST(inst), fn, __VA_ARGS__)

/** @brief VIOMMU_DT_SPEC_GET_BY_IDX() of an instance. */
#define VIOMMU_DT_SPEC_INST_GET_BY_IDX(inst, idx) VIOMMU_DT_SPEC_GET_BY_IDX(DT_DRV_INST(inst), idx)

/** @brief VIOMMU_DT_SPEC_GET() of an instance. */
#define VIOMMU_DT_SPEC_INST_GET(inst) VIOMMU_DT_SPEC_GET(DT_DRV_INST(inst))

/** @brief VIOMMU_DT_SPECS_GET() of an instance. */
#define VIOMMU_DT_SPECS_INST_GET(inst) VIOMMU_DT_SPECS_GET(DT_DRV_INST(inst))

/** @} */

/** @} */

#endif /* VIOMMU_DEVICETREE_H_ */
