// SPDX-License-Identifier: MIT
// arena.c - memory that several processes have at one address. See arena.h.
#include "os/arena.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/bug.h"
#include "os/fault.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int pl_arena_map(int fd, uintptr_t at, size_t bytes)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    void *got = mmap((void *)at, bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
    if (got == MAP_FAILED)
        return -errno;
    if (got != (void *)at) { // before Linux 4.17 the address is a wish
        int gone = munmap(got, bytes);
        PL_ASSERT(gone == 0);
        return -EEXIST;
    }
    // A dump would look at every page of it. Advice: a kernel that cannot take it dumps more.
    (void)madvise(got, bytes, MADV_DONTDUMP);
    return 0;
}

int pl_arena_populate(void *at, size_t bytes)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return -ENOMEM;
    while (madvise(at, bytes, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINVAL)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            return -ENOMEM;
    }
    return 0;
}

int pl_arena_discard(void *at, size_t bytes)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    return madvise(at, bytes, MADV_REMOVE) < 0 ? -errno : 0;
}

static size_t limit_of(int resource)
{
    struct rlimit limit;
    PL_ASSERT(getrlimit(resource, &limit) == 0);
    return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

size_t pl_arena_limit(void)
{
    // A program that limits its address space wants most of it for itself. Beyond the limit of a
    // file the kernel would send SIGXFSZ.
    size_t space = limit_of(RLIMIT_AS), file = limit_of(RLIMIT_FSIZE);
    space = space == SIZE_MAX ? SIZE_MAX : space / 8;
    return space < file ? space : file;
}

int pl_arena_on_fork(void (*in_child)(void))
{
    return -pthread_atfork(NULL, NULL, in_child);
}
