// SPDX-License-Identifier: MIT
/*
 * cpu.c - how many CPUs this process may use.
 *
 * DESIGN
 *   /proc/self/cgroup says in which group this process is, per hierarchy; /proc/self/mountinfo says
 * where the hierarchies are mounted and which of their directories is the root of the mount. In a
 * container the path from the first often lies outside what is mounted; the mount's own root is
 * then the container's group and is what is read. A file that is missing or unreadable means no
 * limit at that level: the root group never has one.
 */
#include "os/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static FILE *open_at(const char *root, const char *path)
{
    char full[PATH_MAX];
    if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
        return NULL;
    return fopen(full, "re");
}

// The first line of dir/name; false when there is none.
static bool read_line(const char *root, const char *dir, const char *name, char *line, size_t len)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return false;
    FILE *f = open_at(root, path);
    if (!f)
        return false;
    bool got = fgets(line, (int)len, f) != NULL;
    fclose(f);
    return got;
}

static int whole_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus > INT_MAX ? INT_MAX : (int)cpus;
}

static int limit_of_group(const char *root, const char *dir, bool v2)
{
    char line[128];
    long long quota, period;
    if (v2) {
        if (!read_line(root, dir, "cpu.max", line, sizeof line) ||
            sscanf(line, "%lld %lld", &quota, &period) != 2) // "max 100000": no limit
            return 0;
        return whole_cpus(quota, period);
    }
    if (!read_line(root, dir, "cpu.cfs_quota_us", line, sizeof line) ||
        sscanf(line, "%lld", &quota) != 1 ||
        !read_line(root, dir, "cpu.cfs_period_us", line, sizeof line) ||
        sscanf(line, "%lld", &period) != 1)
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
static bool find_group(const char *root, bool v2, char *group, size_t len)
{
    FILE *f = open_at(root, "/proc/self/cgroup");
    if (!f)
        return false;
    char line[PATH_MAX + 256];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *controllers++ = *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = v2 ? controllers[0] == '\0' : has_word(controllers, "cpu");
        if (found)
            found = (size_t)snprintf(group, len, "%s", path) < len;
    }
    fclose(f);
    return found;
}

// Where that hierarchy is mounted, and the directory of it that is the mount's root. A line reads
// "id parent major:minor ROOT MOUNT options... - TYPE source SUPER-OPTIONS".
static bool find_mount(const char *root, bool v2, char *mount, char *mount_root)
{
    FILE *f = open_at(root, "/proc/self/mountinfo");
    if (!f)
        return false;
    char line[3 * PATH_MAX];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char type[64], options[1024];
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(rest, " - %63s %*s %1023s", type, options) != 2)
            continue;
        if (strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !has_word(options, "cpu")))
            continue;
        found = sscanf(line, "%*s %*s %*s %4095s %4095s", mount_root, mount) == 2;
    }
    fclose(f);
    return found;
}

static int limit_of_hierarchy(const char *root, bool v2)
{
    char group[PATH_MAX], mount[PATH_MAX], mount_root[PATH_MAX], dir[2 * PATH_MAX];
    if (!find_group(root, v2, group, sizeof group) || !find_mount(root, v2, mount, mount_root))
        return 0;
    const char *below = group;
    size_t prefix = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(group, mount_root, prefix) == 0 && (group[prefix] == '/' || group[prefix] == '\0'))
        below = group + prefix;
    snprintf(dir, sizeof dir, "%s%s", mount, below);

    int limit = 0;
    size_t top = strlen(mount);
    for (;;) {
        limit = smaller_limit(limit, limit_of_group(root, dir, v2));
        char *slash = strrchr(dir, '/');
        if (!slash || strlen(dir) <= top)
            break;
        *slash = '\0';
        if (strlen(dir) < top)
            break;
    }
    return limit;
}

int pl_cpu_cgroup_limit(const char *root)
{
    return smaller_limit(limit_of_hierarchy(root, true), limit_of_hierarchy(root, false));
}

int pl_cpu_count(void)
{
    return smaller_limit(pl_cpu_affinity(), pl_cpu_cgroup_limit(""));
}
