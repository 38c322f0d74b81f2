// SPDX-License-Identifier: MIT
// random.c - random bytes from the kernel.
#include "os/random.h"

#include <errno.h>
#include <sys/random.h>

#include "os/clock.h"
#include "os/fault.h"

int pl_random_bytes(void *buf, size_t len)
{
    unsigned char *at = buf;
    while (len > 0) {
        int injected = pl_fault(PL_FAULT_SYSCALL);
        if (injected)
            return injected;
        ssize_t n = getrandom(at, len, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

uint64_t pl_random_seed(void)
{
    uint64_t seed;
    if (pl_random_bytes(&seed, sizeof seed) == 0)
        return seed;
    // Two clocks and an address that the loader randomised, spread over the word.
    seed = (uint64_t)pl_now() * 0x9e3779b97f4a7c15u;
    return seed ^ (uint64_t)pl_now_wall() ^ (uint64_t)(uintptr_t)&seed << 17;
}
