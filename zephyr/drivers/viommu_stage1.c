/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vSMMU as a device of Zephyr. Zephyr maps its image one to one on arm64, so the address of a
 * table is also where it is in memory.
 */
#define DT_DRV_COMPAT arm_smmu_v3

#include <errno.h>

#include <zephyr/device.h>
#include <zephyr/init.h>
#include <zephyr/irq.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/spinlock.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/util.h>
#include <viommu/devicetree.h>
#include <viommu/stage1.h>

#include "viommu_smmu.h"

LOG_MODULE_REGISTER(viommu, CONFIG_VIOMMU_STAGE1_LOG_LEVEL);

BUILD_ASSERT(DT_NUM_INST_STATUS_OKAY(DT_DRV_COMPAT) == 1, "a guest has one vSMMU");
BUILD_ASSERT(VIOMMU_STAGE1_PAGE_SIZE == VIOMMU_SMMU_PAGE_SIZE);
BUILD_ASSERT(VIOMMU_STAGE1_IOVA_END == BIT64(VIOMMU_SMMU_IOVA_BITS));

#define VSMMU DT_DRV_INST(0)

/* Xen's vSMMU has one interrupt for all; QEMU's SMMU has one for the event queue alone. */
#define EVENTS COND_CODE_1(DT_IRQ_HAS_NAME(VSMMU, combined), (combined), (eventq))

/* The binding that west-viommu generates has the value, by the profile. The first is the safe one. */
#define ONE_SETTING (DT_ENUM_IDX_OR(VSMMU, viommu_stage1_settings, 0) == 0)

/* fn(node_id, ...) for each device that has streams. */
#define FOREACH_DEVICE(...) DT_FOREACH_STATUS_OKAY_NODE_VARGS(IF_DEVICE, __VA_ARGS__)
#define IF_DEVICE(node_id, fn, ...)                                                                \
	IF_ENABLED(VIOMMU_DT_HAS_STREAMS(node_id), (fn(node_id, ##__VA_ARGS__)))

#define CHECK_STREAM(node_id, prop, idx)                                                           \
	BUILD_ASSERT(DT_SAME_NODE(VIOMMU_DT_VSMMU(node_id, idx), VSMMU),                           \
		     "a stream is behind another IOMMU than the vSMMU");                           \
	BUILD_ASSERT(VIOMMU_DT_STREAM_ID(node_id, idx) < BIT(VIOMMU_SMMU_ID_BITS),                 \
		     "a stream ID has too many bits");
#define CHECK_DEVICE(node_id) DT_FOREACH_PROP_ELEM(node_id, iommus, CHECK_STREAM)
FOREACH_DEVICE(CHECK_DEVICE)

/*
 * How many groups of entries the stream table needs: the groups that have a stream are the bits of
 * four words.
 */
#define GROUP(node_id, idx) (VIOMMU_DT_STREAM_ID(node_id, idx) >> VIOMMU_SMMU_GROUP_BITS)
#define OR_BIT(node_id, prop, idx, word)                                                           \
	| (GROUP(node_id, idx) / 64 == (word) ? BIT64(GROUP(node_id, idx) % 64) : 0)
#define OR_BITS(node_id, word) DT_FOREACH_PROP_ELEM_VARGS(node_id, iommus, OR_BIT, word)
#define GROUPS_IN(word)        __builtin_popcountll(0 FOREACH_DEVICE(OR_BITS, word))
#define NUM_GROUPS             (GROUPS_IN(0) + GROUPS_IN(1) + GROUPS_IN(2) + GROUPS_IN(3))
BUILD_ASSERT(VIOMMU_SMMU_GROUPS == 4 * 64);

struct stage1_device {
	const char *node;
	const uint16_t *ids;
	size_t num_ids;
};

#define ID_AND_COMMA(node_id, prop, idx) VIOMMU_DT_STREAM_ID(node_id, idx),
#define DEVICE(node_id)                                                                            \
	{                                                                                          \
		.node = DT_NODE_PATH(node_id),                                                     \
		.ids = (const uint16_t[]){DT_FOREACH_PROP_ELEM(node_id, iommus, ID_AND_COMMA)},    \
		.num_ids = VIOMMU_DT_NUM_STREAMS(node_id),                                         \
	},

static const struct stage1_device devices[] = {FOREACH_DEVICE(DEVICE)};

BUILD_ASSERT(ARRAY_SIZE(devices) > 0, "no device has a stream behind the vSMMU");

/* What changes of a device. */
struct stage1_state {
	viommu_stage1_fault_cb_t callback;
	void *user_data;
	bool attached;
};

#define QUEUE(type, log2) __aligned(sizeof(struct type) << (log2))

static struct stage1_state states[ARRAY_SIZE(devices)];
static struct viommu_smmu_context contexts[ARRAY_SIZE(devices)] __aligned(64);
static struct viommu_smmu_table roots[ARRAY_SIZE(devices)] __aligned(VIOMMU_SMMU_PAGE_SIZE);
static struct viommu_smmu_table tables[CONFIG_VIOMMU_STAGE1_PAGE_TABLES]
	__aligned(VIOMMU_SMMU_PAGE_SIZE);
static uint64_t groups[VIOMMU_SMMU_GROUPS] __aligned(sizeof(uint64_t) * VIOMMU_SMMU_GROUPS);
static struct viommu_smmu_stream entries[NUM_GROUPS][VIOMMU_SMMU_GROUP_SIZE]
	__aligned(sizeof(struct viommu_smmu_stream) * VIOMMU_SMMU_GROUP_SIZE);
static struct viommu_smmu_command commands[BIT(CONFIG_VIOMMU_STAGE1_CMDQ_LOG2)]
	QUEUE(viommu_smmu_command, CONFIG_VIOMMU_STAGE1_CMDQ_LOG2);
static struct viommu_smmu_record records[BIT(CONFIG_VIOMMU_STAGE1_EVENTQ_LOG2)]
	QUEUE(viommu_smmu_record, CONFIG_VIOMMU_STAGE1_EVENTQ_LOG2);

static struct viommu_smmu smmu = {
	.groups = groups,
	.commands = commands,
	.commands_log2 = CONFIG_VIOMMU_STAGE1_CMDQ_LOG2,
	.records = records,
	.records_log2 = CONFIG_VIOMMU_STAGE1_EVENTQ_LOG2,
	.tables = tables,
	.num_tables = ARRAY_SIZE(tables),
};
static struct k_spinlock lock;

/* Which of the devices has the stream; -ENODEV if none has. */
static int device_of(uint32_t stream_id)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		for (size_t n = 0; n < devices[i].num_ids; n++) {
			if (devices[i].ids[n] == stream_id) {
				return i;
			}
		}
	}
	return -ENODEV;
}

static int usable_device_of(const struct viommu_dt_spec *spec)
{
	if (spec->vsmmu != DT_REG_ADDR(VSMMU) || !device_is_ready(DEVICE_DT_GET(VSMMU))) {
		return -ENODEV;
	}
	return device_of(spec->stream_id);
}

/* Each device has an address space of its own: 0 is not used. */
static uint16_t asid_of(int device)
{
	return device + 1;
}

int viommu_stage1_attach(const struct viommu_dt_spec *spec, viommu_stage1_fault_cb_t callback,
			 void *user_data)
{
	int device = usable_device_of(spec);
	int ret = 0;

	if (device < 0) {
		return device;
	}
	K_SPINLOCK(&lock) {
		if (states[device].attached) {
			ret = -EALREADY;
			K_SPINLOCK_BREAK;
		}
		states[device] = (struct stage1_state){callback, user_data, true};
		viommu_smmu_set_context(&smmu, &contexts[device], &roots[device], asid_of(device));
		for (size_t n = 0; n < (ONE_SETTING ? 1 : devices[device].num_ids) && !ret; n++) {
			ret = viommu_smmu_translate(&smmu, devices[device].ids[n],
						    &contexts[device]);
		}
	}
	return ret;
}

int viommu_stage1_map(const struct viommu_dt_spec *spec, uint64_t iova, uint64_t physical,
		      size_t size)
{
	int device = usable_device_of(spec);
	int ret = device;

	if (device >= 0) {
		K_SPINLOCK(&lock) {
			ret = viommu_smmu_map(&smmu, &roots[device], iova, physical, size);
		}
	}
	return ret;
}

int viommu_stage1_unmap(const struct viommu_dt_spec *spec, uint64_t iova, size_t size)
{
	int device = usable_device_of(spec);
	int ret = device;

	if (device >= 0) {
		K_SPINLOCK(&lock) {
			ret = viommu_smmu_unmap(&smmu, &roots[device], asid_of(device), iova, size);
		}
	}
	return ret;
}

/* Whether the event tells of the same page as the one before. */
static bool is_repeated(const struct viommu_smmu_event *event)
{
	static struct viommu_smmu_event last;
	uint64_t page = ROUND_DOWN(event->address, VIOMMU_SMMU_PAGE_SIZE);
	bool repeated = last.address == page && last.stream_id == event->stream_id &&
			last.type == event->type;

	last = *event;
	last.address = page;
	return repeated;
}

/* A device tries again and again, at each address of a page: log the page once in a row. */
static void on_events(const struct device *dev)
{
	struct viommu_smmu_event event;

	ARG_UNUSED(dev);
	while (viommu_smmu_next_event(&smmu, &event)) {
		int device = device_of(event.stream_id);
		struct stage1_state state = {0};
		const struct viommu_stage1_fault fault = {
			.node = device < 0 ? NULL : devices[device].node,
			.address = event.address,
			.stream_id = event.stream_id,
			.type = event.type,
		};

		if (!is_repeated(&event)) {
			LOG_ERR("%s: event 0x%02x of stream 0x%x at 0x%llx",
				fault.node ? fault.node : "no device of the devicetree", fault.type,
				fault.stream_id, (unsigned long long)fault.address);
		}
		if (device >= 0) {
			K_SPINLOCK(&lock) {
				state = states[device];
			}
		}
		if (state.callback) {
			state.callback(&fault, state.user_data);
		}
	}
}

/* Two devices with one stream cannot have page tables of their own. */
static int add_groups(void)
{
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		for (size_t n = 0; n < devices[i].num_ids; n++) {
			size_t first = device_of(devices[i].ids[n]);

			if (first < i) {
				LOG_ERR("%s and %s share stream 0x%x", devices[first].node,
					devices[i].node, devices[i].ids[n]);
				return -EINVAL;
			}
			if (!viommu_smmu_has_group(&smmu, devices[i].ids[n])) {
				viommu_smmu_set_group(&smmu, devices[i].ids[n], entries[used++]);
			}
		}
	}
	return 0;
}

static int viommu_stage1_init(const struct device *dev)
{
	int ret = add_groups();

	ARG_UNUSED(dev);
	if (ret) {
		return ret;
	}
	device_map(&smmu.registers, DT_REG_ADDR(VSMMU), DT_REG_SIZE(VSMMU), K_MEM_CACHE_NONE);
	ret = viommu_smmu_enable(&smmu);
	if (ret) {
		LOG_ERR("%s: %s", DT_NODE_PATH(VSMMU),
			ret == -ENOTSUP ? "this SMMU lacks what the driver needs"
					: "the SMMU does not answer");
		return ret;
	}
	IRQ_CONNECT(DT_IRQ_BY_NAME(VSMMU, EVENTS, irq), DT_IRQ_BY_NAME(VSMMU, EVENTS, priority),
		    on_events, DEVICE_DT_GET(VSMMU), DT_IRQ_BY_NAME(VSMMU, EVENTS, flags));
	irq_enable(DT_IRQ_BY_NAME(VSMMU, EVENTS, irq));
	return 0;
}

DEVICE_DT_INST_DEFINE(0, viommu_stage1_init, NULL, NULL, NULL, POST_KERNEL,
		      CONFIG_VIOMMU_STAGE1_INIT_PRIORITY, NULL);
