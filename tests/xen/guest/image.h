/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of an arm64 Linux Image, which is what Xen looks for in a kernel module. Xen enters at
 * its first byte, at EL1, with the MMU off and interrupts masked.
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
