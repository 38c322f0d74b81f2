// SPDX-License-Identifier: MIT
// place.c - see place.h. The name is in the environment, so that every process of a test has it.
#include "lib/place.h"
#include "check.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLE "PLAIT_TEST_PLACE"

static const char *const roots[] = { "/tmp", "/dev/shm" };

struct path {
    char text[80];
};

static struct path path_in(const char *root)
{
    struct path p;
    snprintf(p.text, sizeof p.text, "%s/%s", root, getenv(VARIABLE));
    return p;
}

void check_place_begin(void)
{
    static unsigned count;
    char name[64];
    snprintf(name, sizeof name, "plait-test-%d-%u", getpid(), count++);
    setenv(VARIABLE, name, 1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

void check_place_end(void)
{
    for (unsigned i = 0; i < sizeof roots / sizeof *roots; i++) {
        struct path p = path_in(roots[i]);
        if (nftw(p.text, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
            fprintf(stderr, "%s cannot be removed: %s\n", p.text, strerror(errno));
    }
}

static const char *place(const char *root)
{
    static _Thread_local struct path p;
    if (!getenv(VARIABLE))
        check_fail(__FILE__, __LINE__, "no place for files: %s is not in the environment",
                   VARIABLE);
    p = path_in(root);
    if (mkdir(p.text, 0700) < 0 && errno != EEXIST)
        check_fail(__FILE__, __LINE__, "no place for files: %s", strerror(errno));
    return p.text;
}

const char *check_place(void)
{
    return place(roots[0]);
}

const char *check_fast_place(void)
{
    return place(roots[access(roots[1], W_OK | X_OK) == 0]);
}
