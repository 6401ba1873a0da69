// SPDX-License-Identifier: Apache-2.0
/* UART and GICD are given by the compiler's command line: tests/xen/programs.py. */
#include "guest.h"

#include <zephyr/sys/sys_io.h>

#define UARTFR (UART + 0x18)

void print(const char *text)
{
	for (; *text; text++) {
		while (sys_read32(UARTFR) & (1 << 5)) /* the transmit FIFO is full */
			;
		sys_write32((uint8_t)*text, UART);
	}
}

void print_number(uint64_t value, unsigned int base)
{
	char digits[20];
	char *first = &digits[sizeof(digits) - 1];

	*first = '\0';
	do {
		*--first = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	print(base == 16 ? "0x" : "");
	print(first);
}

/* Called by start.S: the guest touched what it does not have. */
void fault(uint64_t address, uint64_t syndrome)
{
	print("fault at ");
	print_number(address, 16);
	print(", syndrome ");
	print_number(syndrome, 16);
	print("\n");
}

void enable_interrupt(unsigned int intid)
{
	sys_write32(1 << 1, GICD + 0x0000);                            /* GICD_CTLR.EnableGrp1A */
	sys_write32(1U << intid % 32, GICD + 0x0080 + intid / 32 * 4); /* GICD_IGROUPR */
	sys_write32(0x80808080, GICD + 0x0400 + intid / 4 * 4);        /* GICD_IPRIORITYR */
	sys_write32(1U << intid % 32, GICD + 0x0100 + intid / 32 * 4); /* GICD_ISENABLER */
	__asm__ volatile("msr S3_0_C12_C12_5, %0\n\t"                  /* ICC_SRE_EL1.SRE */
			 "isb\n\t"
			 "msr S3_0_C4_C6_0, %1\n\t"            /* ICC_PMR_EL1: all priorities */
			 "msr S3_0_C12_C12_7, %0\n\t"          /* ICC_IGRPEN1_EL1 */
			 "isb"
			 : : "r"(1UL), "r"(0xffUL) : "memory");
}

/* Waits without a handler: wfi also ends for an interrupt that the CPU masks. */
unsigned int taken_interrupt(void)
{
	uint64_t intid;

	do {
		__asm__ volatile("wfi\n\t"
				 "mrs %0, S3_0_C12_C12_0" /* ICC_IAR1_EL1 */
				 : "=r"(intid) : : "memory");
	} while (intid == 1023); /* none */
	return intid;
}
