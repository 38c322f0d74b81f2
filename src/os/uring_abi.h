// SPDX-License-Identifier: MIT
// uring_abi.h - io_uring's system calls, and the constants that are newer than Debian 12's headers.
#ifndef PL_OS_URING_ABI_H
#define PL_OS_URING_ABI_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/fault.h"

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup    425 // one number on every architecture
#define __NR_io_uring_enter    426
#define __NR_io_uring_register 427
#endif

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) // Linux 6.6
#endif

// An enumerator in newer headers, so it cannot be tested with #ifndef. Linux 6.13: sends a message
// to a ring without owning one.
#define PL_IORING_REGISTER_SEND_MSG_RING 31

static inline int pl_uring_setup(unsigned entries, struct io_uring_params *params)
{
    int injected = pl_fault(PL_FAULT_SYSCALL);
    if (injected)
        return injected;
    long fd = syscall(__NR_io_uring_setup, entries, params);
    return fd < 0 ? -errno : (int)fd;
}

static inline int pl_uring_enter(int fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                                 size_t arg_bytes)
{
    if (pl_fault(PL_FAULT_SYSCALL))
        return -EINTR; // the failure that a sound ring may show
    long n = syscall(__NR_io_uring_enter, fd, submit, wait, flags, arg, arg_bytes);
    return n < 0 ? -errno : (int)n;
}

static inline int pl_uring_register(int fd, unsigned what, void *arg, unsigned count)
{
    int injected = pl_fault(PL_FAULT_SYSCALL);
    if (injected)
        return injected;
    long n = syscall(__NR_io_uring_register, fd, what, arg, count);
    return n < 0 ? -errno : (int)n;
}

#endif
