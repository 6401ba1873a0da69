/* SPDX-License-Identifier: Apache-2.0 */
/* Zephyr's barrier, for a guest without Zephyr. */
#ifndef ZEPHYR_SYS_BARRIER_H_
#define ZEPHYR_SYS_BARRIER_H_

static inline void barrier_dsync_fence_full(void)
{
	__asm__ volatile("dsb sy" : : : "memory");
}

#endif /* ZEPHYR_SYS_BARRIER_H_ */
