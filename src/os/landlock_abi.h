// SPDX-License-Identifier: MIT
// landlock_abi.h - Landlock as the kernel's documentation has it: the headers that a distribution
// builds with are often older than the kernel that a program runs on.
#ifndef PL_OS_LANDLOCK_ABI_H
#define PL_OS_LANDLOCK_ABI_H

#include <stdint.h>

// The same numbers on every machine.
#define PL_SYS_LANDLOCK_CREATE_RULESET 444
#define PL_SYS_LANDLOCK_ADD_RULE       445
#define PL_SYS_LANDLOCK_RESTRICT_SELF  446

#define PL_LANDLOCK_ASK_VERSION       (1u << 0)
#define PL_LANDLOCK_RULE_PATH_BENEATH 1

// Rights of version 1: execute, write, read files, read directories, remove and make entries.
#define PL_LANDLOCK_FS_READ_FILE (UINT64_C(1) << 2)
#define PL_LANDLOCK_FS_READ_DIR  (UINT64_C(1) << 3)
#define PL_LANDLOCK_FS_1         ((UINT64_C(1) << 13) - 1)

#define PL_LANDLOCK_FS_REFER     (UINT64_C(1) << 13) // version 2
#define PL_LANDLOCK_FS_TRUNCATE  (UINT64_C(1) << 14) // version 3
#define PL_LANDLOCK_FS_IOCTL_DEV (UINT64_C(1) << 15) // version 5

#define PL_LANDLOCK_SCOPE_ABSTRACT_SOCKET (UINT64_C(1) << 0) // version 6
#define PL_LANDLOCK_SCOPE_SIGNAL          (UINT64_C(1) << 1)

struct pl_landlock_ruleset {
    uint64_t handled_access_fs;  // all that version 1 knows
    uint64_t handled_access_net; // version 4
    uint64_t scoped;             // version 6
};

struct pl_landlock_beneath {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

#endif
