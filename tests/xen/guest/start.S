/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of the guest: an arm64 Linux Image, which is what Xen looks for in a kernel module. Xen
 * enters at its first byte, at EL1, with the MMU off and interrupts masked.
 */
	.section .head, "ax"
	b	start
	.long	0
	.quad	0			/* offset from the start of RAM */
	.quad	image_size		/* with the stack, which the file does not hold */
	.quad	0x2			/* little endian, 4 KiB pages */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

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
