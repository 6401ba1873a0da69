/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zephyr's register access, as far as a guest without Zephyr needs it.
 *
 * Assembly rather than a volatile pointer: Xen can emulate an access only by a plain load or store,
 * and the compiler may choose one that writes its base register back.
 */
#ifndef ZEPHYR_SYS_SYS_IO_H_
#define ZEPHYR_SYS_SYS_IO_H_

#include <stddef.h>
#include <stdint.h>

typedef uintptr_t mm_reg_t;

static inline uint32_t sys_read32(mm_reg_t address)
{
	uint32_t value;

	__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void sys_write32(uint32_t value, mm_reg_t address)
{
	__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
}

static inline uint64_t sys_read64(mm_reg_t address)
{
	uint64_t value;

	__asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void sys_write64(uint64_t value, mm_reg_t address)
{
	__asm__ volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
}

#endif /* ZEPHYR_SYS_SYS_IO_H_ */
