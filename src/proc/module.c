// SPDX-License-Identifier: MIT
// module.c - loaded modules and their build ids, by the loader's own list.
#include "proc/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The loader lists the program first, under an empty name.
struct search {
    uintptr_t address;              // by address
    const struct pl_module *wanted; // or by description
    struct pl_module found;
    int result;
    unsigned index;
};

static void read_notes(const char *at, size_t bytes, struct pl_module *m)
{
    for (size_t used = 0; used + sizeof(ElfW(Nhdr)) <= bytes;) {
        ElfW(Nhdr) note;
        memcpy(&note, at + used, sizeof note);
        size_t name = used + sizeof note, name_bytes = (note.n_namesz + 3) & ~(size_t)3;
        size_t value = name + name_bytes;
        if (name_bytes > bytes - name || note.n_descsz > bytes - value)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(at + name, "GNU", 4) == 0 && note.n_descsz <= PL_BUILD_ID_MAX) {
            m->build_id_bytes = note.n_descsz;
            memcpy(m->build_id, at + value, note.n_descsz);
            return;
        }
        used = value + ((note.n_descsz + 3) & ~(size_t)3);
    }
}

static int describe(const struct dl_phdr_info *info, bool is_program, struct pl_module *m)
{
    memset(m, 0, sizeof *m);
    m->is_program = is_program;
    if ((size_t)snprintf(m->path, sizeof m->path, "%s", info->dlpi_name) >= sizeof m->path)
        return -ENAMETOOLONG;
    for (unsigned i = 0; i < info->dlpi_phnum && m->build_id_bytes == 0; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            read_notes((const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr,
                       info->dlpi_phdr[i].p_memsz, m);
    return 0;
}

static bool contains(const struct dl_phdr_info *info, uintptr_t address)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && address - (info->dlpi_addr + p->p_vaddr) < p->p_memsz)
            return true;
    }
    return false;
}

static int by_address(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *s = arg;
    bool is_program = s->index++ == 0;
    if (!contains(info, s->address))
        return 0;
    s->result = describe(info, is_program, &s->found);
    return 1;
}

int pl_module_of(const void *address, struct pl_module *ret)
{
    struct search s = { .address = (uintptr_t)address, .result = -ENOENT };
    dl_iterate_phdr(by_address, &s);
    if (s.result == 0)
        *ret = s.found;
    return s.result;
}

bool pl_module_same(const struct pl_module *a, const struct pl_module *b)
{
    if (a->is_program != b->is_program || a->build_id_bytes != b->build_id_bytes)
        return false;
    if (a->build_id_bytes > 0)
        return memcmp(a->build_id, b->build_id, a->build_id_bytes) == 0;
    return a->is_program || strcmp(a->path, b->path) == 0;
}

static int by_description(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *s = arg;
    bool is_program = s->index++ == 0;
    if (describe(info, is_program, &s->found) == 0 && pl_module_same(&s->found, s->wanted))
        s->result = 0;
    return s->result == 0;
}

static int find(const struct pl_module *m)
{
    struct search s = { .wanted = m, .result = -ENOENT };
    dl_iterate_phdr(by_description, &s);
    return s.result;
}

int pl_module_load(const struct pl_module *m)
{
    if (find(m) == 0)
        return 0;
    // The handle is kept for ever: workers may run its tasks until they end.
    if (m->is_program || !dlopen(m->path, RTLD_NOW | RTLD_LOCAL))
        return -ENOENT;
    return find(m);
}
