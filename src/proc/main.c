// SPDX-License-Identifier: MIT
// main.c - plait_main(): where a program that was started as a zygote leaves its own way.
#include <plait/executor.h>
#include <stdlib.h>
#include <string.h>

#include "os/ipc.h"
#include "os/process.h"
#include "proc/processes.h"
#include "proc/wire.h"
#include "proc/zygote.h"
#include "shared/arena.h"

static const char *program; // argv[0]; NULL: plait_main() has not been called

const char *pl_main_program(void)
{
    return program;
}

// Whether the variable says that this process was started by its parent as a part of an executor;
// `title` is how the argument begins that such a process has. Whoever has that, and another parent,
// has lost the one that started it: the end, since what comes after plait_main() is the program's.
static bool is_child_by(const char *variable, const char *title, int argc, char **argv)
{
    const char *value = getenv(variable);
    int pid = value ? atoi(value) : 0;
    if (value)
        unsetenv(variable); // not for what this process or its tasks start
    if (pid <= 0 || !pl_fd_is_message_socket(PL_PROCESS_CHANNEL))
        return false;
    bool lost = pl_process_parent() != pid;
    if (lost && argc == 2 && strncmp(argv[1], title, strlen(title)) == 0)
        pl_process_exit(0);
    return !lost;
}

void plait_main(int argc, char **argv)
{
    program = argc > 0 && argv[0] ? argv[0] : "plait";
    if (is_child_by(PL_ZYGOTE_VARIABLE, PL_ZYGOTE_TITLE, argc, argv))
        pl_zygote_main(pl_process_parent(), PL_PROCESS_CHANNEL);
    if (is_child_by(PL_WORKER_VARIABLE, PL_WORKER_TITLE, argc, argv))
        pl_spawned_main(pl_process_parent());
    (void)pl_arena_open(); // who needs it is told why there is none
}
