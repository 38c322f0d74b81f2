// SPDX-License-Identifier: MIT
// measure.c - what the process holds, and whether it grows.
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "soak/lib/soak.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_OURS 0 // a sanitizer allocates otherwise, and keeps what was freed
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMORY_IS_OURS 0
#endif
#endif
#ifndef MEMORY_IS_OURS
#define MEMORY_IS_OURS 1
#endif

// How much more of it there may be when the load is the same: what caches and pools of the library
// and of libc have at one time and not at another. Parts of a hundred of the first, and a number.
static const struct {
    const char *name;
    int percent, more;
    bool memory;
} helds[HELD_COUNT] = {
    [HELD_FDS] = { "descriptors", 0, 3 * SPARES, false }, // an epoll, an eventfd, a timerfd
    [HELD_THREADS] = { "threads", 0, SPARES + LOCALS *SPARES, false },
    [HELD_PROCESSES] = { "processes", 0, 0, false },
    [HELD_MAPPINGS] = { "mappings", 5, 8, true },
    [HELD_BLOCKS_KIB] = { "malloc KiB", 2, 96, true },
    [HELD_RESIDENT_KIB] = { "resident KiB", 3, 1024, true },
    [HELD_SHARED_KIB] = { "shared KiB", 0, 0, false },
};

static long count_entries(const char *path)
{
    long n = 0;
    DIR *d = opendir(path);
    CHECK(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static long count_lines(const char *path)
{
    char text[4096];
    long n = 0;
    FILE *f = fopen(path, "re");
    CHECK(f);
    for (size_t got; (got = fread(text, 1, sizeof text, f)) > 0;)
        for (const char *at = text; (at = memchr(at, '\n', got - (size_t)(at - text))); at++)
            n++;
    fclose(f);
    return n;
}

// Processes that this one has started, and those that these have: workers are children of another.
static long count_descendants(void)
{
    enum { MANY = 8192 };
    static struct {
        int pid, parent;
        bool ours;
    } all[MANY];
    int n = 0;
    long found = 0;
    DIR *d = opendir("/proc");
    CHECK(d);
    for (struct dirent *e; n < MANY && (e = readdir(d)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (!f)
            continue;
        all[n].ours = false;
        all[n].pid = atoi(e->d_name);
        n += fscanf(f, "%*d (%*[^)]) %*c %d", &all[n].parent) == 1;
        fclose(f);
    }
    closedir(d);
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < n; i++) {
            bool ours = all[i].parent == getpid();
            for (int k = 0; k < n && !ours; k++)
                ours = all[k].ours && all[k].pid == all[i].parent;
            more = more || ours != all[i].ours;
            found += ours && !all[i].ours;
            all[i].ours = ours;
        }
    }
    return found;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static long shared_kib(void)
{
    struct plait_shared_stats s;
    return plait_shared_stats(&s) == 0 ? (long)(s.bytes / 1024) : 0;
}

static struct holding holding_now(void)
{
    return (struct holding){ {
        [HELD_FDS] = count_entries("/proc/self/fd") - 1, // the one that counts
        [HELD_THREADS] = count_entries("/proc/self/task"),
        [HELD_PROCESSES] = count_descendants(),
        [HELD_MAPPINGS] = count_lines("/proc/self/maps"),
        [HELD_BLOCKS_KIB] = (long)(mallinfo2().uordblks + mallinfo2().hblkhd) / 1024,
        [HELD_RESIDENT_KIB] = resident_kib(),
        [HELD_SHARED_KIB] = shared_kib(),
    } };
}

struct holding holding_at_rest(void)
{
    // Servers see the end of a connection a moment after its client; a dead worker is replaced.
    enum { LOOKS = 100, SAME = 5 };
    struct holding now = holding_now();
    for (int looks = 0, same = 0; looks < LOOKS && same < SAME; looks++) {
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        struct holding next = holding_now();
        bool equal = true;
        for (int i = 0; i < HELD_COUNT; i++)
            equal = equal && (helds[i].memory || next.n[i] == now.n[i]);
        same = equal ? same + 1 : 0;
        now = next;
    }
    return now;
}

void holding_head(void)
{
    printf("%-16s", "");
    for (int i = 0; i < HELD_COUNT; i++)
        printf("%14s", helds[i].name);
    printf("\n");
}

void holding_print(const char *when, const struct holding *h)
{
    printf("%-16s", when);
    for (int i = 0; i < HELD_COUNT; i++)
        printf("%14ld", h->n[i]);
    printf("\n");
}

void record_add(struct record *r, const struct holding *h)
{
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->at = realloc(r->at, r->room * sizeof *r->at);
        CHECK(r->at);
    }
    r->at[r->count++] = *h;
}

static long least(const struct record *r, size_t from, size_t to, int what)
{
    long n = r->at[from].n[what];
    for (size_t i = from; i < to; i++)
        n = r->at[i].n[what] < n ? r->at[i].n[what] : n;
    return n;
}

// The least of a third: what caches hold at one pause they have given back at another. The first
// third is the warm-up, in which pools and caches fill.
bool record_has_grown(const struct record *r, bool warm)
{
    size_t third = r->count / 3;
    bool grown = false;
    for (int i = 0; third > 0 && i < HELD_COUNT; i++) {
        if (helds[i].memory && !(warm && MEMORY_IS_OURS))
            continue;
        long before = least(r, third, 2 * third, i), after = least(r, 2 * third, r->count, i);
        long allowed = before + before * helds[i].percent / 100 + helds[i].more;
        if (after <= allowed)
            continue;
        printf("soak: %s have grown from %ld to %ld, %ld are allowed\n", helds[i].name, before,
               after, allowed);
        grown = true;
    }
    return grown;
}

bool holding_is_more(const struct holding *before, const struct holding *after)
{
    // Arenas of malloc() stay, each with what is left in it.
    static const long more[HELD_COUNT] = {
        [HELD_MAPPINGS] = 64, [HELD_BLOCKS_KIB] = 128, [HELD_RESIDENT_KIB] = 16 << 10
    };
    bool is_more = false;
    for (int i = 0; i < HELD_COUNT; i++) {
        if ((helds[i].memory && !MEMORY_IS_OURS) || after->n[i] <= before->n[i] + more[i])
            continue;
        printf("soak: %s were %ld before the load and are %ld after it, %ld are allowed\n",
               helds[i].name, before->n[i], after->n[i], before->n[i] + more[i]);
        is_more = true;
    }
    return is_more;
}
