// SPDX-License-Identifier: MIT
// futex.c - sleeping on a 32-bit word.
#include "os/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/clock.h"
#include "os/fault.h"

// FUTEX_WAIT_BITSET rather than FUTEX_WAIT: its timeout is absolute, so a wait that is restarted
// after a spurious wake keeps its deadline without reading the clock.
static int futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline, int flag)
{
    if (pl_fault(PL_FAULT_SYSCALL))
        return -EINTR; // the failure that every caller must expect here
    struct timespec until, *timeout = NULL;
    if (deadline != PL_FOREVER) {
        until = pl_timespec(deadline > 0 ? deadline : 0);
        timeout = &until;
    }
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | flag, expect, timeout, NULL,
                FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    PL_ASSERT(errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR);
    return -errno;
}

static int futex_wake(_Atomic uint32_t *word, int n, int flag)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE | flag, n, NULL, NULL, 0);
    // EFAULT: the last sleeper may have unmapped the word after it saw the new value. Nobody
    // sleeps. EINVAL: another process misuses the word as a lock.
    PL_ASSERT(woken >= 0 || errno == EFAULT || (errno == EINVAL && !flag));
    return woken < 0 ? 0 : (int)woken;
}

int pl_futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline)
{
    return futex_wait(word, expect, deadline, FUTEX_PRIVATE_FLAG);
}

int pl_futex_wait_shared(_Atomic uint32_t *word, uint32_t expect, int64_t deadline)
{
    return futex_wait(word, expect, deadline, 0);
}

int pl_futex_wake(_Atomic uint32_t *word, int n)
{
    return futex_wake(word, n, FUTEX_PRIVATE_FLAG);
}

int pl_futex_wake_shared(_Atomic uint32_t *word, int n)
{
    return futex_wake(word, n, 0);
}
