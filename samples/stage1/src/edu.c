/* SPDX-License-Identifier: Apache-2.0 */
#include "edu.h"

#include <zephyr/devicetree.h>
#include <zephyr/irq.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/sys_io.h>

#define EDU DT_NODELABEL(edu)

/* In the page of its PCI configuration space. */
#define PCI_ID      0x00
#define PCI_COMMAND 0x04
#define PCI_BAR0    0x10
#define MEMORY      BIT(1) /* PCI_COMMAND: answer at the BAR */
#define MASTER      BIT(2) /* PCI_COMMAND: may do DMA */
#define QEMU_EDU    0x11e81234

#define STATUS      0x24
#define ACKNOWLEDGE 0x64
#define SOURCE      0x80
#define TARGET      0x88
#define COUNT       0x90
#define COMMAND     0x98
#define START       BIT(0)
#define TO_MEMORY   BIT(1)
#define INTERRUPT   BIT(2) /* at the end */
#define BUFFER      0x40000 /* as the device itself sees it */

static mm_reg_t edu;
static K_SEM_DEFINE(done, 0, 1);

static void on_done(const void *unused)
{
	ARG_UNUSED(unused);
	sys_write32(sys_read32(edu + STATUS), edu + ACKNOWLEDGE);
	k_sem_give(&done);
}

bool edu_init(void)
{
	mm_reg_t config;

	device_map(&edu, DT_REG_ADDR_BY_IDX(EDU, 0), DT_REG_SIZE_BY_IDX(EDU, 0), K_MEM_CACHE_NONE);
	device_map(&config, DT_REG_ADDR_BY_IDX(EDU, 1), DT_REG_SIZE_BY_IDX(EDU, 1),
		   K_MEM_CACHE_NONE);
	if (sys_read32(config + PCI_ID) != QEMU_EDU) {
		return false;
	}
	sys_write32(DT_REG_ADDR_BY_IDX(EDU, 0), config + PCI_BAR0);
	sys_write32(MEMORY | MASTER, config + PCI_COMMAND);
	IRQ_CONNECT(DT_IRQN(EDU), DT_IRQ(EDU, priority), on_done, NULL, DT_IRQ(EDU, flags));
	irq_enable(DT_IRQN(EDU));
	return true;
}

static bool move(uint64_t source, uint64_t target, size_t size, uint64_t direction)
{
	sys_write64(source, edu + SOURCE);
	sys_write64(target, edu + TARGET);
	sys_write64(size, edu + COUNT);
	sys_write64(direction | INTERRUPT | START, edu + COMMAND);
	return k_sem_take(&done, K_SECONDS(10)) == 0;
}

bool edu_copy(uint64_t source, uint64_t target, size_t size)
{
	return move(source, BUFFER, size, 0) && move(BUFFER, target, size, TO_MEMORY);
}
