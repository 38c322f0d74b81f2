// SPDX-License-Identifier: MIT
// cpu.h - how many CPUs this process may use: its affinity mask and the CPU limit of its cgroups.
#ifndef PL_OS_CPU_H
#define PL_OS_CPU_H

// At least 1: the smaller of the two counts below. Read anew at each call.
int pl_cpu_count(void);

// The CPU that the calling thread runs on, for this moment; -1: the system does not say.
int pl_cpu_current(void);

// CPUs in the calling thread's affinity mask.
int pl_cpu_affinity(void);

/*
 * The CPU limit of this process's control groups (version 2: cpu.max; version 1: cpu.cfs_quota_us),
 * the smallest along the path to the root, rounded up to whole CPUs. 0: no limit. `root` is put
 * before every path that is read ("": the real system), so that a test can bring its own tree.
 */
int pl_cpu_cgroup_limit(const char *root);

#endif
