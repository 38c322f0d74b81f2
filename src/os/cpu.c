// SPDX-License-Identifier: MIT
/*
 * cpu.c - how many CPUs this process may use.
 *
 * DESIGN
 *   /proc/self/cgroup says in which group this process is, per hierarchy; /proc/self/mountinfo
 *   says where the hierarchies are mounted and which of their directories is the root of the
 *   mount. In a container the path from the first often lies outside what is mounted; the mount's
 *   own root is then the container's group and is what is read. A file that is missing or
 *   unreadable means no limit at that level: the root group never has one.
 */
#include "os/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/alloc.h"

int pl_cpu_current(void)
{
    return sched_getcpu();
}

int pl_cpu_affinity(void)
{
    // The kernel wants a mask at least as large as its own, and tells by EINVAL.
    for (int cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            return 1;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        int err = sched_getaffinity(0, bytes, set) < 0 ? errno : 0;
        int count = err ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (!err)
            return count > 0 ? count : 1;
        if (err != EINVAL)
            return 1;
    }
    return 1;
}

// All buffers, on the heap: this may run on a fiber, whose stack is small.
struct search {
    const char *root;
    bool v2;
    char line[3 * PATH_MAX], full[2 * PATH_MAX], path[2 * PATH_MAX];
    char group[PATH_MAX], mount[PATH_MAX], mount_root[PATH_MAX], dir[2 * PATH_MAX];
};

static FILE *open_at(struct search *s, const char *path)
{
    if ((size_t)snprintf(s->full, sizeof s->full, "%s%s", s->root, path) >= sizeof s->full)
        return NULL;
    return fopen(s->full, "re");
}

// The first line of a file of the group; NULL when there is none.
static const char *read_line(struct search *s, const char *name)
{
    if ((size_t)snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name) >= sizeof s->path)
        return NULL;
    FILE *f = open_at(s, s->path);
    if (!f)
        return NULL;
    const char *line = fgets(s->line, sizeof s->line, f);
    fclose(f);
    return line;
}

static int whole_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus > INT_MAX ? INT_MAX : (int)cpus;
}

static int limit_of_group(struct search *s)
{
    long long quota, period;
    const char *line;
    if (s->v2) {
        line = read_line(s, "cpu.max");
        if (!line || sscanf(line, "%lld %lld", &quota, &period) != 2) // "max 100000": no limit
            return 0;
        return whole_cpus(quota, period);
    }
    line = read_line(s, "cpu.cfs_quota_us");
    if (!line || sscanf(line, "%lld", &quota) != 1)
        return 0;
    line = read_line(s, "cpu.cfs_period_us");
    if (!line || sscanf(line, "%lld", &period) != 1)
        return 0;
    return whole_cpus(quota, period);
}

static int smaller_limit(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

// Whether `word` is one of the comma-separated words of the list.
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at && *at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0' || at[len] == '\n'))
            return true;
    }
    return false;
}

// This process's group in the hierarchy with the cpu controller, from lines "id:controllers:path".
static bool find_group(struct search *s)
{
    FILE *f = open_at(s, "/proc/self/cgroup");
    if (!f)
        return false;
    bool found = false;
    while (!found && fgets(s->line, sizeof s->line, f)) {
        char *controllers = strchr(s->line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *controllers++ = *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = s->v2 ? controllers[0] == '\0' : has_word(controllers, "cpu");
        if (found)
            found = (size_t)snprintf(s->group, sizeof s->group, "%s", path) < sizeof s->group;
    }
    fclose(f);
    return found;
}

// Where that hierarchy is mounted, and the directory of it that is the mount's root. A line reads
// "id parent major:minor ROOT MOUNT options... - TYPE source SUPER-OPTIONS".
static bool find_mount(struct search *s)
{
    FILE *f = open_at(s, "/proc/self/mountinfo");
    if (!f)
        return false;
    bool found = false;
    while (!found && fgets(s->line, sizeof s->line, f)) {
        char type[64], options[1024];
        const char *rest = strstr(s->line, " - ");
        if (!rest || sscanf(rest, " - %63s %*s %1023s", type, options) != 2)
            continue;
        if (strcmp(type, s->v2 ? "cgroup2" : "cgroup") != 0 ||
            (!s->v2 && !has_word(options, "cpu")))
            continue;
        found = sscanf(s->line, "%*s %*s %*s %4095s %4095s", s->mount_root, s->mount) == 2;
    }
    fclose(f);
    return found;
}

static int limit_of_hierarchy(struct search *s, bool v2)
{
    s->v2 = v2;
    if (!find_group(s) || !find_mount(s))
        return 0;
    const char *below = s->group;
    size_t prefix = strcmp(s->mount_root, "/") == 0 ? 0 : strlen(s->mount_root);
    if (strncmp(below, s->mount_root, prefix) == 0 &&
        (below[prefix] == '/' || below[prefix] == '\0'))
        below += prefix;
    snprintf(s->dir, sizeof s->dir, "%s%s", s->mount, below);

    int limit = 0;
    for (size_t top = strlen(s->mount);;) {
        limit = smaller_limit(limit, limit_of_group(s));
        char *slash = strrchr(s->dir, '/');
        if (!slash || (size_t)(slash - s->dir) < top)
            return limit;
        *slash = '\0';
    }
}

int pl_cpu_cgroup_limit(const char *root)
{
    struct search *s = pl_zalloc(sizeof *s);
    if (!s)
        return 0;
    s->root = root;
    int limit = smaller_limit(limit_of_hierarchy(s, true), limit_of_hierarchy(s, false));
    pl_free_mem(s);
    return limit;
}

int pl_cpu_count(void)
{
    return smaller_limit(pl_cpu_affinity(), pl_cpu_cgroup_limit(""));
}
