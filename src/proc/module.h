// SPDX-License-Identifier: MIT
// module.h - which program or shared library an address lies in, and how to find the same one in
// another process: by its GNU build id, else by its path.
#ifndef PL_PROC_MODULE_H
#define PL_PROC_MODULE_H

#include <stdbool.h>
#include <stdint.h>

#define PL_BUILD_ID_MAX 32
#define PL_PATH_MAX     512

struct pl_module {
    uint32_t is_program;     // the executable itself
    uint32_t build_id_bytes; // 0: it has none
    unsigned char build_id[PL_BUILD_ID_MAX];
    char path[PL_PATH_MAX];
};

// The module that `address` lies in. 0; -ENOENT: in none; -ENAMETOOLONG.
int pl_module_of(const void *address, struct pl_module *ret);

// Whether two descriptions, of two processes, mean the same code.
bool pl_module_same(const struct pl_module *a, const struct pl_module *b);

// Sees to it that the module is loaded in this process. 0; -ENOENT: it cannot be loaded, or what is
// at its path now is something else.
int pl_module_load(const struct pl_module *m);

#endif
