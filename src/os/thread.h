// SPDX-License-Identifier: MIT
// thread.h - threads of the library: named, and invisible to the program's signals.
#ifndef PL_OS_THREAD_H
#define PL_OS_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * Starts a thread. All signals are blocked in it except those that an instruction of its own raises
 * (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT: blocking these would only hide the
 * crash from the program's handlers) and SIGPROF (so that a profiler sees the workers). The name is
 * cut to the kernel's 15 bytes. stack_bytes 0 is the system's default. 0, or a negative errno
 * (-EAGAIN, -ENOMEM, -EINVAL for a stack that is too small).
 */
int pl_thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*run)(void *),
                    void *arg);

// Waits for it to end. Outputs nothing: a thread reports through memory that it shares.
void pl_thread_join(pthread_t thread);

// Nobody will join it: what it holds goes when it ends.
void pl_thread_detach(pthread_t thread);

// fn(NULL) runs when the calling thread ends, but not when the main thread returns from main().
// Every call names the same function. 0; -EAGAIN: the process has no thread-specific key left;
// -ENOMEM.
int pl_thread_at_exit(void (*fn)(void *unused));

// The kernel's id of the calling thread.
int pl_thread_id(void);

// CPU time that the calling thread has used, in nanoseconds.
int64_t pl_thread_cpu(void);

// The CPU clock of another thread, to be read by pl_thread_clock_read while that thread lives.
// 0 or a negative errno (-ESRCH: it has ended).
int pl_thread_clock(pthread_t thread, clockid_t *clock);

// Nanoseconds, or a negative errno when the thread has ended.
int64_t pl_thread_clock_read(clockid_t clock);

// Whether a thread of this process wants a CPU: it runs, or waits for its turn to run. False where
// the kernel does not say.
bool pl_thread_is_runnable(int id);

// How many threads the process has that can run its code: those of io_uring, which the kernel lists
// among them, cannot. 0: unknown, or threads came or went meanwhile.
unsigned pl_thread_count(void);

// Lets another thread run.
void pl_thread_yield(void);

#endif
