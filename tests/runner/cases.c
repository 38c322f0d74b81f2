// SPDX-License-Identifier: MIT
// The runner's own cases: most of them must fail, which runner.sh looks at. Not run by tests/run.
#include "check.h"

#include "base/bug.h"
#include "lib/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct pair {
    int first, second;
};

static void forever(void)
{
    for (;;)
        pause();
}

TEST(passes)
{
    struct pair p;
    CHECK(PL_CONTAINER(&p.second, struct pair, second) == &p);
    CHECK_INT(UINT64_MAX, >, -1);
    CHECK_STR("a", "a");
    CHECK_MEM("abc", "abd", 2);
}

TEST(skips)
{
    SKIP("no moon tonight");
}

TEST(late_child) // ends by itself a moment later: allowed
{
    if (fork() == 0) {
        usleep(200000);
        _exit(3);
    }
}

TEST(caller_bug, .signal = SIGABRT, .says = "BUG IN CALLER OF check_body_caller_bug: number 3")
{
    PL_BUG("number %d", 3);
}

TEST(own_bug, .signal = SIGABRT, .says = "BUG IN PLAIT")
{
    PL_ASSERT(getpid() == 1);
}

TEST(bad_int)
{
    CHECK_INT(-ETIMEDOUT, ==, 0);
}

TEST(bad_bytes)
{
    CHECK_MEM("abc", "abd", 3);
}

static void *compare(void *text)
{
    CHECK_STR((const char *)text, "right");
    return NULL;
}

TEST(bad_in_thread)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, compare, "wrong") == 0);
    pthread_join(thread, NULL);
}

TEST(bad_exit)
{
    _exit(5);
}

TEST(bad_signal)
{
    raise(SIGTERM);
}

TEST(bad_no_signal, .signal = SIGABRT)
{
}

TEST(bad_silence, .signal = SIGABRT, .says = "farewell")
{
    abort();
}

TEST(bad_hang, .limit_s = 1)
{
    check_say("still here");
    if (fork() == 0) {
        setsid();
        forever();
    }
    forever();
}

TEST(bad_stray)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            forever();
        forever();
    }
}

TEST(bad_files_left, .limit_s = 1)
{
    char deep[160], file[192];
    snprintf(deep, sizeof deep, "%s/deep", check_place());
    snprintf(file, sizeof file, "%s/file", deep);
    CHECK(mkdir(deep, 0700) == 0);
    CHECK(close(open(file, O_CREAT | O_WRONLY, 0600)) == 0);
    check_say("they are at %s.", check_place());
    forever();
}
