// SPDX-License-Identifier: MIT
// Address space. See memory.h.
//
// DESIGN. A guard marker (MADV_GUARD_INSTALL) lives in the page table, so a million guards add no
// mapping; a page without access splits its mapping in three, and the kernel allows 65,530 mappings
// a process. Whether markers work is tried rather than deduced from a version: an emulator may
// accept any advice and do nothing, so the probe believes a guard only if it keeps the kernel
// itself from populating the page. Installing them in batches by process_madvise was measured: 440
// ns instead of 560 each, beside 1,250 for the first touch of the stack that follows; not worth a
// second path.
#include "os/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/fault.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define DEFAULT_MAX_MAPPINGS 65530

size_t pl_memory_page(void)
{
    static _Atomic size_t known;
    size_t page =
        atomic_load_explicit(&known, memory_order_relaxed); // a constant; any thread may store it

    if (page == 0) {
        page = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&known, page, memory_order_relaxed);
    }
    return page;
}

int pl_memory_reserve(size_t bytes, char **ret)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;

    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    // A kernel without huge pages refuses the advice, and has then nothing to be advised about.
    (void)madvise(at, bytes, MADV_NOHUGEPAGE);
    *ret = at;
    return 0;
}

void pl_memory_release(void *at, size_t bytes)
{
    // Unmapping may need one more mapping, when it leaves a hole, and fail for want of it. We
    // release only what we reserved in one piece, but the kernel may have merged our neighbours
    // with it.
    if (munmap(at, bytes) == 0)
        return;
    PL_ASSERT(errno == ENOMEM);
    PL_ASSERT(madvise(at, bytes, MADV_DONTNEED) == 0);
}

int pl_memory_discard(void *at, size_t bytes)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    return madvise(at, bytes, MADV_DONTNEED) < 0 ? -errno : 0;
}

static int install(enum pl_guard_kind kind, void *at, size_t bytes)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;

    switch (kind) {
    case PL_GUARD_MADVISE:
        if (madvise(at, bytes, MADV_GUARD_INSTALL) == 0)
            return 0;
        return errno == EINVAL ? -ENOTSUP : -errno;
    case PL_GUARD_MPROTECT:
        return mprotect(at, bytes, PROT_NONE) < 0 ? -errno : 0;
    case PL_GUARD_CANARY:
        break;
    }
    return -ENOTSUP;
}

int pl_memory_guard(enum pl_guard_kind kind, void *first, size_t bytes, size_t stride, int count)
{
    for (int i = 0; i < count; i++) {
        int err = install(kind, (char *)first + (size_t)i * stride, bytes);
        if (err < 0)
            return i > 0 ? i : err;
    }
    return count;
}

enum pl_guard_kind pl_memory_guard_best(void)
{
    size_t page = pl_memory_page();
    char *at = NULL;

    if (pl_memory_reserve(page, &at) < 0)
        return PL_GUARD_MPROTECT;
    bool stands = install(PL_GUARD_MADVISE, at, page) == 0 &&
                  madvise(at, page, MADV_POPULATE_READ) < 0 && errno == EFAULT;
    pl_memory_release(at, page);
    return stands ? PL_GUARD_MADVISE : PL_GUARD_MPROTECT;
}

size_t pl_memory_max_mappings(void)
{
    char text[32];
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return DEFAULT_MAX_MAPPINGS;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0)
        return DEFAULT_MAX_MAPPINGS;
    text[len] = '\0';
    long limit = strtol(text, NULL, 10);
    return limit > 0 ? (size_t)limit : DEFAULT_MAX_MAPPINGS;
}
