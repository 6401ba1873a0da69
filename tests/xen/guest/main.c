// SPDX-License-Identifier: Apache-2.0
/*
 * A guest of Xen that owns one device, the PL031 real-time clock of QEMU's virt machine: it reads
 * the clock's identity, sets an alarm and takes its interrupt. The console is Xen's virtual PL011.
 */
#include <stdbool.h>
#include <stdint.h>

/* Where Xen puts what it makes up itself (xen/include/public/arch-arm.h). */
#define UART 0x22000000UL
#define GICD 0x03001000UL

/* The device: Arm DDI 0224. Guest addresses and interrupts are those of the host. */
#define RTC       0x09010000UL
#define RTC_INTID 34
#define RTCDR     (RTC + 0x000)
#define RTCMR     (RTC + 0x004)
#define RTCIMSC   (RTC + 0x010)
#define RTCID     (RTC + 0xfe0) /* PeriphID0-3, then PCellID0-3: a byte in each word */

/*
 * Assembly rather than a volatile pointer: Xen can emulate an access only by a plain load or store,
 * and the compiler may choose one that writes its base register back.
 */
static uint32_t get(uintptr_t address)
{
	uint32_t value;

	__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static void set(uintptr_t address, uint32_t value)
{
	__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
}

static void print(const char *text)
{
	for (; *text; text++) {
		while (get(UART + 0x18) & (1 << 5)) /* UARTFR: the transmit FIFO is full */
			;
		set(UART, (uint8_t)*text);
	}
}

static void print_number(uint64_t value, unsigned int base)
{
	char digits[20];
	char *first = &digits[sizeof(digits) - 1];

	*first = '\0';
	do {
		*--first = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	print(first);
}

/* Called by start.S: the guest touched what it does not have. */
void fault(uint64_t address, uint64_t syndrome)
{
	print("fault at 0x");
	print_number(address, 16);
	print(", syndrome 0x");
	print_number(syndrome, 16);
	print("\n");
}

/* Let a shared interrupt through the distributor and the CPU interface, up to the masked CPU. */
static void enable_interrupt(unsigned int intid)
{
	set(GICD + 0x0000, 1 << 1);                            /* GICD_CTLR.EnableGrp1A */
	set(GICD + 0x0080 + intid / 32 * 4, 1U << intid % 32); /* GICD_IGROUPR */
	set(GICD + 0x0400 + intid / 4 * 4, 0x80808080);        /* GICD_IPRIORITYR */
	set(GICD + 0x0100 + intid / 32 * 4, 1U << intid % 32); /* GICD_ISENABLER */
	__asm__ volatile("msr S3_0_C12_C12_5, %0\n\t"          /* ICC_SRE_EL1.SRE */
			 "isb\n\t"
			 "msr S3_0_C4_C6_0, %1\n\t"            /* ICC_PMR_EL1: all priorities */
			 "msr S3_0_C12_C12_7, %0\n\t"          /* ICC_IGRPEN1_EL1 */
			 "isb"
			 : : "r"(1UL), "r"(0xffUL) : "memory");
}

/* Waits without a handler: wfi also ends for an interrupt that the CPU masks. */
static unsigned int taken_interrupt(void)
{
	uint64_t intid;

	do {
		__asm__ volatile("wfi\n\t"
				 "mrs %0, S3_0_C12_C12_0" /* ICC_IAR1_EL1 */
				 : "=r"(intid) : : "memory");
	} while (intid == 1023); /* none */
	return intid;
}

static bool rtc_is_a_pl031(void)
{
	static const uint8_t expected[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

	for (unsigned int i = 0; i < sizeof(expected); i++) {
		uint8_t mask = i == 2 ? 0x0f : 0xff; /* the upper half of PeriphID2 is a revision */

		if ((get(RTCID + 4 * i) & mask) != expected[i])
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
	due = get(RTCDR) + 1;
	set(RTCMR, due);
	set(RTCIMSC, 1);
	intid = taken_interrupt();
	print("irq ");
	print_number(intid, 10);
	print("\n");
	print(intid == RTC_INTID && get(RTCDR) >= due ? "PASS\n" : "FAIL: not our alarm\n");
}
