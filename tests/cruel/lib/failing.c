// SPDX-License-Identifier: MIT
// failing.c - see failing.h. Nothing without -Dcruel=true.
#include "cruel/lib/failing.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define CHECK_LEAKS() CHECK_INT(__lsan_do_recoverable_leak_check(), ==, 0)
#else
#define CHECK_LEAKS() (void)0
#endif

#if PL_CRUEL

void fail_each(const struct place *on, int (*scenario)(const struct place *on),
               enum pl_fault_kind kind, int error)
{
    gate_fd(0); // the board
    CHECK_INT(scenario(on), ==, 0);
    struct holdings before = holdings_now();
    unsigned failed = 0, survived = 0, n = 1;
    for (bool fired = true; fired; n += 1 + n / 100) {
        check_say("%s: failure %u", on->name, n);
        pl_fault_arm(kind, n, error);
        int e = scenario(on);
        fired = pl_fault_fired(kind);
        pl_fault_arm(kind, 0, 0);
        failed += e < 0;
        survived += fired && e == 0;
        if (!fired)
            CHECK_INT(e, ==, 0);
        holdings_check(&before);
        CHECK_LEAKS();
    }
    check_say("%s: %u places, %u runs failed, %u went on", on->name, n, failed, survived);
    CHECK_INT(n, >, 5);
}

#endif
