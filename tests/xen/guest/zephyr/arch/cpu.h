/* SPDX-License-Identifier: Apache-2.0 */
/* In Zephyr, this has what <zephyr/sys/sys_io.h> declares. */
#include <zephyr/sys/sys_io.h>
