/* SPDX-License-Identifier: Apache-2.0 */
/* A guest begins here: at EL1, with the MMU off and interrupts masked. */
#include "image.h"

	.globl	start
start:
	adr	x0, vectors
	msr	vbar_el1, x0
	ldr	x0, =stack_top
	mov	sp, x0
	bl	main
halt:
	wfi
	b	halt

/* Interrupts stay masked, so that every exception is a fault, and ends the guest. */
	.balign	0x800
vectors:
	.rept	16
	.balign	0x80
	b	on_fault
	.endr

on_fault:
	mrs	x0, far_el1
	mrs	x1, esr_el1
	bl	fault
	b	halt
