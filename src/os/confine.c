// SPDX-License-Identifier: MIT
// confine.c - directory, environment, priorities, CPUs, limits; and what a process uses.
#include "os/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/alloc.h"

int pl_confine_directory(const char *path)
{
    return chdir(path) < 0 ? -errno : 0;
}

int pl_confine_environment(const char *entry)
{
    const char *equals = strchr(entry, '=');
    if (!entry[0] || equals == entry)
        return -EINVAL;
    if (!equals)
        return unsetenv(entry) < 0 ? -errno : 0;
    size_t length = (size_t)(equals - entry);
    char *name = pl_alloc(length + 1);
    if (!name)
        return -ENOMEM;
    memcpy(name, entry, length);
    name[length] = 0;
    int e = setenv(name, equals + 1, 1) < 0 ? -errno : 0;
    pl_free_mem(name);
    return e;
}

int pl_confine_nice(int by)
{
    errno = 0; // -1 is a niceness too
    return nice(by) == -1 && errno != 0 ? -errno : 0;
}

int pl_confine_io(int class, int level)
{
    // ioprio.h: IOPRIO_WHO_PROCESS is 1, the class stands above 13 bits of level.
    return syscall(SYS_ioprio_set, 1, 0, class << 13 | level) < 0 ? -errno : 0;
}

// ---- CPUs

// The mask of this thread, as large as the kernel's. NULL and *error.
static cpu_set_t *affinity(size_t *bytes, int *cpus, int *error)
{
    for (*cpus = CPU_SETSIZE; *cpus <= 1 << 20; *cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)*cpus);
        *bytes = CPU_ALLOC_SIZE((size_t)*cpus);
        if (!set) {
            *error = -ENOMEM;
            return NULL;
        }
        if (sched_getaffinity(0, *bytes, set) == 0)
            return set;
        *error = -errno;
        CPU_FREE(set);
        if (*error != -EINVAL) // else the kernel's is larger
            break;
    }
    return NULL;
}

int pl_confine_cpu(unsigned cpu)
{
    if (cpu >= 1 << 20)
        return -EINVAL;
    cpu_set_t *set = CPU_ALLOC(cpu + 1);
    size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
    if (!set)
        return -ENOMEM;
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(cpu, bytes, set);
    int e = sched_setaffinity(0, bytes, set) < 0 ? -errno : 0;
    CPU_FREE(set);
    return e;
}

int pl_confine_nth_cpu(unsigned n)
{
    size_t bytes;
    int cpus, e = 0;
    cpu_set_t *set = affinity(&bytes, &cpus, &e);
    if (!set)
        return e;
    unsigned left = n % (unsigned)CPU_COUNT_S(bytes, set);
    unsigned cpu = 0;
    while (!CPU_ISSET_S(cpu, bytes, set) || left-- > 0)
        cpu++;
    CPU_FREE(set);
    return pl_confine_cpu(cpu);
}

// ---- limits

static int limit(int what, uint64_t soft, uint64_t hard)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) < 0)
        return -errno;
    // What is less already stays: who may not raise a limit should not fail for having a lower one.
    if (now.rlim_max != RLIM_INFINITY && hard > now.rlim_max)
        hard = now.rlim_max;
    struct rlimit then = { soft < hard ? soft : hard, hard };
    return setrlimit((__rlimit_resource_t)what, &then) < 0 ? -errno : 0;
}

int pl_limit_cpu_time(uint64_t seconds)
{
    return limit(RLIMIT_CPU, seconds, seconds + 1);
}

int pl_limit_files(uint64_t descriptors)
{
    return limit(RLIMIT_NOFILE, descriptors, descriptors);
}

int pl_process_memory_open(void)
{
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return fd;
}

// The n-th number of it, in bytes.
static uint64_t memory_number(int memory, int n)
{
    unsigned long long pages[2] = { 0, 0 };
    char text[128];
    ssize_t bytes = pread(memory, text, sizeof text - 1, 0);
    if (bytes <= 0)
        return 0;
    text[bytes] = 0;
    int found = sscanf(text, "%llu %llu", &pages[0], &pages[1]);
    return found == 2 ? pages[n] * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

int pl_limit_memory(int memory, uint64_t bytes)
{
    uint64_t mapped = memory_number(memory, 0);
    if (mapped == 0)
        return -ENOSYS;
    return limit(RLIMIT_AS, mapped + bytes, mapped + bytes);
}

uint64_t pl_process_resident(int memory)
{
    return memory_number(memory, 1);
}

unsigned pl_process_threads(void)
{
    char line[128];
    unsigned threads = 0;
    FILE *f = fopen("/proc/self/status", "re");
    if (!f)
        return 0;
    while (threads == 0 && fgets(line, sizeof line, f))
        (void)sscanf(line, "Threads: %u", &threads); // other lines do not match
    fclose(f);
    return threads;
}
