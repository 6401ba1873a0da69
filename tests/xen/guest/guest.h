/* SPDX-License-Identifier: Apache-2.0 */
/* What the guests share: the console and the GIC, at the places that their devicetree gives. */
#ifndef GUEST_H_
#define GUEST_H_

#include <stdint.h>

void print(const char *text);
void print_number(uint64_t value, unsigned int base);

/* Let a shared interrupt through, up to the CPU, which masks it. */
void enable_interrupt(unsigned int intid);

/* The interrupt that comes next. */
unsigned int taken_interrupt(void);

/* What guest there is; called by start.S. */
void main(void);

#endif /* GUEST_H_ */
