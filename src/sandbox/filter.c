// SPDX-License-Identifier: MIT
/*
 * filter.c - the lists as a program for the kernel, by libseccomp.
 *
 * DESIGN
 *   The program is made here, in the program that opens the executor, and travels to the workers
 *   as bytes: they load nothing and allocate nothing for it. libseccomp writes it to a descriptor
 *   only, so it goes through a memfd.
 *
 *   In front of it stand four instructions of ours: a call whose number libseccomp does not know is
 *   younger than both, and gets the ENOSYS of an older kernel, at which a C library takes its other
 *   way. EPERM there would be believed.
 */
#include "sandbox/calls.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_X32   0x40000000u // numbers of another calling convention: libseccomp refuses them
#define NUMBER_MOST 2048

const char *pl_call_name(int number)
{
    static _Thread_local char name[40];
    char *found = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    if (!found)
        return NULL;
    snprintf(name, sizeof name, "%s", found);
    free(found);
    return name;
}

static unsigned last_number(void)
{
    int number = NUMBER_MOST;
    while (number > 0 && !pl_call_name(number))
        number--;
    return (unsigned)number;
}

// ---- the lists

struct making {
    scmp_filter_ctx context;
    const struct plait_sandbox_options *options;
    uint32_t hostile; // what becomes of a hostile call
};

// Nobody needs a rule that says what happens anyway; libseccomp takes it for a mistake.
#define ANYWAY SCMP_ACT_ERRNO(EPERM)

static bool is_among(const char *const *calls, const char *name)
{
    while (calls && *calls && strcmp(*calls, name) != 0)
        calls++;
    return calls && *calls;
}

// Its number; negative: there is nothing to say of it.
static int number_of(const struct making *m, const char *name, uint32_t action)
{
    if (action == ANYWAY || is_among(m->options->calls, name))
        return -1;
    return seccomp_syscall_resolve_name(name); // of other machines and younger kernels: negative
}

static int add_calls(const struct making *m, const char *const *calls, uint32_t action)
{
    int e = 0;
    for (; *calls && e == 0; calls++) {
        int number = number_of(m, *calls, action);
        if (number >= 0)
            e = seccomp_rule_add(m->context, action, number, 0);
    }
    return e;
}

static int add_rules(const struct making *m, const struct pl_rule *rules)
{
    int e = 0;
    for (const struct pl_rule *r = rules; r->call && e == 0; r++) {
        uint32_t action = r->answer == PL_RULE_ALLOW     ? SCMP_ACT_ALLOW
                          : r->answer == PL_RULE_HOSTILE ? m->hostile
                                                         : SCMP_ACT_ERRNO(EACCES);
        struct scmp_arg_cmp compare = { r->which, SCMP_CMP_MASKED_EQ, r->mask, r->value };
        if (r->differs || r->mask == PL_RULE_WHOLE)
            compare = (struct scmp_arg_cmp){ r->which, r->differs ? SCMP_CMP_NE : SCMP_CMP_EQ,
                                             r->value, 0 };
        int number = number_of(m, r->call, action);
        if (number >= 0)
            e = seccomp_rule_add_array(m->context, action, number, 1, &compare);
    }
    return e;
}

// A descriptor may be made non-blocking, never blocking: its flags are those of everybody who has
// it, and the program rings the bells of its workers while it holds locks.
static int add_flags(const struct making *m)
{
    const struct scmp_arg_cmp both[] = {
        { 1, SCMP_CMP_EQ, F_SETFL, 0 },
        { 2, SCMP_CMP_MASKED_EQ, O_NONBLOCK | O_ASYNC, O_NONBLOCK },
    };
    int number = number_of(m, "fcntl", SCMP_ACT_ALLOW);
    return number < 0 ? 0 : seccomp_rule_add_array(m->context, SCMP_ACT_ALLOW, number, 2, both);
}

static int add_extra(const struct making *m)
{
    int e = 0;
    for (const char *const *call = m->options->calls; call && *call && e == 0; call++) {
        int number = seccomp_syscall_resolve_name(*call);
        if (number == __NR_SCMP_ERROR)
            return pl_sandbox_fail(-ENOENT, "there is no system call `%s`", *call);
        if (number >= 0)
            e = seccomp_rule_add(m->context, SCMP_ACT_ALLOW, number, 0);
    }
    return e;
}

static int add_all(const struct making *m)
{
    static const char *const memory[] = { "mmap", "mprotect", "pkey_mprotect", NULL };
    const struct plait_sandbox_options *o = m->options;
    const bool reads = o->files == PLAIT_SANDBOX_FILES_READ || o->readable;
    int e = add_extra(m);
    if (e == 0)
        e = add_calls(m, pl_calls_allowed, SCMP_ACT_ALLOW);
    if (e == 0)
        e = add_rules(m, pl_rules_always);
    if (e == 0)
        e = add_flags(m);
    if (e == 0)
        e = add_rules(m, reads ? pl_rules_reading : pl_rules_not_reading);
    if (e == 0)
        e = add_calls(m, reads ? pl_calls_reading : pl_calls_by_name,
                      reads ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES));
    if (e == 0)
        e = add_calls(m, pl_calls_networking, o->network ? SCMP_ACT_ALLOW : m->hostile);
    if (e == 0)
        e = o->executable_memory ? add_calls(m, memory, SCMP_ACT_ALLOW)
                                 : add_rules(m, pl_rules_data_only);
    if (e == 0)
        e = add_calls(m, pl_calls_missing, SCMP_ACT_ERRNO(ENOSYS));
    return e == 0 ? add_calls(m, pl_calls_hostile, m->hostile) : e;
}

// ---- the program

static int read_program(int fd, void **ret, size_t *bytes)
{
    struct stat st;
    const struct sock_filter head[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_X32, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last_number(), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    if (fstat(fd, &st) < 0)
        return -errno;
    size_t size = (size_t)st.st_size;
    char *program = malloc(sizeof head + size);
    if (!program)
        return -ENOMEM;
    memcpy(program, head, sizeof head);
    if (pread(fd, program + sizeof head, size, 0) != st.st_size) {
        free(program);
        return -EIO;
    }
    *ret = program;
    *bytes = sizeof head + size;
    return 0;
}

static int build(const struct making *m, void **ret, size_t *bytes)
{
    // Calls by another machine's numbers have none of these rules.
    int e = seccomp_attr_set(m->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (e == 0) // found by halving, not one after the other
        e = seccomp_attr_set(m->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (e == 0)
        e = add_all(m);
    if (e < 0)
        return e;
    int fd = memfd_create("plait-sandbox", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    e = seccomp_export_bpf(m->context, fd);
    if (e == 0)
        e = read_program(fd, ret, bytes);
    close(fd);
    return e;
}

int pl_filter_build(const struct plait_sandbox_options *o, void **ret, size_t *bytes)
{
    struct making m = { .options = o, .context = seccomp_init(ANYWAY) };
    if (!m.context)
        return pl_sandbox_fail(-ENOMEM, "no memory for the filter");
    m.hostile = o->answer == PLAIT_SANDBOX_KILL ? SCMP_ACT_TRAP : ANYWAY;
    int e = build(&m, ret, bytes);
    seccomp_release(m.context);
    if (e < 0 && !*plait_sandbox_last_error())
        pl_sandbox_fail(e, "libseccomp makes no filter of it: %s", plait_strerror(e));
    return e;
}
