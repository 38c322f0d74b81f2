// SPDX-License-Identifier: MIT
// Signals as values in a channel.
//
//     plait_signals *s;
//     plait_signals_new(&s, SIGTERM, SIGINT);
//     struct plait_signal which;
//     plait_get(plait_signals_channel(s), &which);     // or plait_select() among other things
//     plait_signals_free(s);                           // they do again what they did before
//
// Only the signals that were asked for are handled, by a handler that counts; a thread, in which
// they are not blocked, passes them on. So it does not matter which other threads block them, nor
// when these were started. All subscribers get every signal.
//
// As always with signals, several of a kind may come as one: a value waits until somebody takes it,
// and what comes meanwhile makes one more value, whose .count says how many. No signal that comes
// often keeps another from being delivered.
//
// Everything here works in tasks of every executor and on plain threads.
#ifndef PLAIT_SIGNAL_H
#define PLAIT_SIGNAL_H

#include <plait/channel.h>
#include <signal.h>

/* A subscription; the caller's to plait_signals_free(). */
typedef struct plait_signals plait_signals;

/* One value of the channel. */
struct plait_signal {
    int number;     /* SIGTERM, ... */
    int pid;        /* who sent the last of them; 0: the kernel */
    uint32_t count; /* how many came since the value before, 1 or more */
};

/* Which signals; plait_signals_new() fills it. */
enum { PLAIT_SIGNALS_MAX = 32 };
struct plait_signal_list {
    int numbers[PLAIT_SIGNALS_MAX + 1]; /* ends with 0 */
};

PLAIT_BEGIN

/* Subscribes to signals. Use plait_signals_new(&s, SIGTERM, SIGINT). A signal that the program
 * ignored or handled is handled here instead until the last subscriber is freed. In a worker
 * process SIGTERM is how the library ends a task that does not hear of its cancellation.
 * -EINVAL  none given, or one that cannot be delivered so: SIGKILL, SIGSTOP, and those that an
 *          instruction raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT)
 * -ENOMEM, -EAGAIN  no memory, or no thread
 * Never suspends. */
PLAIT_API int plait_signals_new_with(plait_signals **ret, const struct plait_signal_list *list);

/* Where they arrive, as struct plait_signal. A channel without room of its own, so nothing else
 * should be put there. It lives until plait_signals_free(). Never suspends. */
PLAIT_API plait_channel *plait_signals_channel(plait_signals *s);

/* Ends the subscription; nobody may be waiting in the channel. What came and was not taken is
 * dropped. The disposition of each signal that has no other subscriber is put back, unless somebody
 * has replaced the library's handler since. NULL is allowed. Blocks for the moment that a thread
 * takes to end. */
PLAIT_API void plait_signals_free(plait_signals *s);

PLAIT_END

/* plait_signals_new(&s, SIGTERM, SIGINT): as plait_signals_new_with(). */
#define plait_signals_new(ret, ...)                                                                \
    plait_signals_new_with((ret), (const struct plait_signal_list *)PLAIT_LITERAL_(                \
                                      struct plait_signal_list, { { __VA_ARGS__ } }))

#endif
