// SPDX-License-Identifier: MIT
// Ctrl-C and its relatives: the first is a request that the driver polls for, the second ends the
// program on the spot.
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

/* Takes over SIGINT, SIGTERM and SIGHUP, except where they are ignored. Call it before threads are
 * made. `abandon` (may be NULL) runs before the program ends on the spot. Returns a descriptor that
 * is readable once a signal has come, or a negative errno. */
int interrupt_start(void (*abandon)(void));

/* The signal that came first, or 0. */
int interrupt_signal(void);

#endif
