/* SPDX-License-Identifier: Apache-2.0 */
/* A dom0 that does nothing: what matters is what Xen gives it. */
#include "image.h"

	.globl	start
start:
	wfi
	b	start
