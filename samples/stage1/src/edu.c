/* SPDX-License-Identifier: Apache-2.0 */
#include "edu.h"

#include <zephyr/kernel.h>
#include <zephyr/sys/sys_io.h>

/* In the page of its PCI configuration space. */
#define CONFIG_SIZE 0x1000
#define PCI_ID      0x00
#define PCI_COMMAND 0x04
#define PCI_BAR0    0x10
#define MEMORY      BIT(1) /* PCI_COMMAND: answer at the BAR */
#define MASTER      BIT(2) /* PCI_COMMAND: may do DMA */
#define QEMU_EDU    0x11e81234

#define SOURCE    0x80
#define TARGET    0x88
#define COUNT     0x90
#define COMMAND   0x98
#define START     BIT(0) /* until the device has ended */
#define TO_MEMORY BIT(1)
#define BUFFER    0x40000 /* as the device itself sees it */
#define LOOKS     1000    /* one each 10 ms */

bool edu_init(struct edu *edu)
{
	mm_reg_t config;

	device_map(&edu->registers, edu->address, edu->size, K_MEM_CACHE_NONE);
	device_map(&config, edu->config, CONFIG_SIZE, K_MEM_CACHE_NONE);
	if (sys_read32(config + PCI_ID) != QEMU_EDU) {
		return false;
	}
	sys_write32(edu->address, config + PCI_BAR0);
	sys_write32(MEMORY | MASTER, config + PCI_COMMAND);
	return true;
}

static bool move(const struct edu *edu, uint64_t source, uint64_t target, size_t size,
		 uint64_t direction)
{
	sys_write64(source, edu->registers + SOURCE);
	sys_write64(target, edu->registers + TARGET);
	sys_write64(size, edu->registers + COUNT);
	sys_write64(direction | START, edu->registers + COMMAND);
	for (int i = 0; i < LOOKS; i++) {
		if (!(sys_read64(edu->registers + COMMAND) & START)) {
			return true;
		}
		k_msleep(10);
	}
	return false;
}

bool edu_copy(const struct edu *edu, uint64_t source, uint64_t target, size_t size)
{
	return move(edu, source, BUFFER, size, 0) && move(edu, BUFFER, target, size, TO_MEMORY);
}
