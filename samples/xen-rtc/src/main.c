/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zephyr has no driver for the PL031, so this talks to it directly. tests/xen boots it under Xen,
 * as the only guest.
 */
#include <zephyr/devicetree.h>
#include <zephyr/irq.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/printk.h>
#include <zephyr/sys/sys_io.h>

#define RTC DT_PATH(passthrough, rtc_9010000)

/* Registers of the PL031: Arm DDI 0224. */
#define RTCDR   0x000 /* seconds */
#define RTCMR   0x004 /* when to interrupt */
#define RTCIMSC 0x010
#define RTCICR  0x01c
#define RTCID   0xfe0 /* PeriphID0-3, then PCellID0-3: a byte in each word */

static mm_reg_t rtc;
static K_SEM_DEFINE(alarm, 0, 1);

static void on_alarm(const void *unused)
{
	ARG_UNUSED(unused);
	sys_write32(0, rtc + RTCIMSC);
	sys_write32(1, rtc + RTCICR);
	k_sem_give(&alarm);
}

static bool rtc_is_a_pl031(void)
{
	static const uint8_t expected[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		uint8_t mask = i == 2 ? 0x0f : 0xff; /* the upper half of PeriphID2 is a revision */

		if ((sys_read32(rtc + RTCID + 4 * i) & mask) != expected[i]) {
			return false;
		}
	}
	return true;
}

int main(void)
{
	uint32_t due;

	device_map(&rtc, DT_REG_ADDR(RTC), DT_REG_SIZE(RTC), K_MEM_CACHE_NONE);
	if (!rtc_is_a_pl031()) {
		printk("FAIL: no PL031\n");
		return 0;
	}
	printk("rtc id ok\n");

	IRQ_CONNECT(DT_IRQN(RTC), DT_IRQ(RTC, priority), on_alarm, NULL, DT_IRQ(RTC, flags));
	irq_enable(DT_IRQN(RTC));
	due = sys_read32(rtc + RTCDR) + 1;
	sys_write32(due, rtc + RTCMR);
	sys_write32(1, rtc + RTCIMSC);
	if (k_sem_take(&alarm, K_SECONDS(10)) != 0) {
		printk("FAIL: no interrupt\n");
		return 0;
	}
	printk("irq %d\n", DT_IRQN(RTC));
	printk(sys_read32(rtc + RTCDR) >= due ? "PASS\n" : "FAIL: too early\n");
	return 0;
}
