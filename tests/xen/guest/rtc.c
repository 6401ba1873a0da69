// SPDX-License-Identifier: Apache-2.0
/*
 * A guest of Xen that owns one device, the PL031 real-time clock of QEMU's virt machine: it reads
 * the clock's identity, sets an alarm and takes its interrupt. RTC and RTC_INTID come from its
 * devicetree.
 */
#include <stdbool.h>

#include <zephyr/sys/sys_io.h>

#include "guest.h"

/* Arm DDI 0224. */
#define RTCDR   (RTC + 0x000)
#define RTCMR   (RTC + 0x004)
#define RTCIMSC (RTC + 0x010)
#define RTCID   (RTC + 0xfe0) /* PeriphID0-3, then PCellID0-3: a byte in each word */

static bool rtc_is_a_pl031(void)
{
	static const uint8_t expected[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

	for (unsigned int i = 0; i < sizeof(expected); i++) {
		uint8_t mask = i == 2 ? 0x0f : 0xff; /* the upper half of PeriphID2 is a revision */

		if ((sys_read32(RTCID + 4 * i) & mask) != expected[i])
			return false;
	}
	return true;
}

void main(void)
{
	uint32_t due;
	unsigned int intid;

	print("guest starts\n");
	if (!rtc_is_a_pl031()) {
		print("FAIL: no PL031\n");
		return;
	}
	print("rtc id ok\n");

	enable_interrupt(RTC_INTID);
	due = sys_read32(RTCDR) + 1;
	sys_write32(due, RTCMR);
	sys_write32(1, RTCIMSC);
	intid = taken_interrupt();
	print("irq ");
	print_number(intid, 10);
	print("\n");
	print(intid == RTC_INTID && sys_read32(RTCDR) >= due ? "PASS\n" : "FAIL: not our alarm\n");
}
