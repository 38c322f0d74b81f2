// SPDX-License-Identifier: MIT
// floor.h - what the machine needs for a thing without any library around it.
#ifndef PLAIT_BENCH_FLOOR_H
#define PLAIT_BENCH_FLOOR_H

/* ns for a push to a bare work-stealing deque, a pop, and a call through the pointer. A batch of
 * `count` is pushed before it is popped. 0 or a negative errno. */
int floor_deque(long count, double *ns);

/* ns for a bare switch to another stack and back, `count` times. */
int floor_switch(long count, double *ns);

#endif
