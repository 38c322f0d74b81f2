// SPDX-License-Identifier: MIT
// main.c - plait_main(): where a program that was started as a zygote leaves its own way.
#include <plait/executor.h>
#include <stdlib.h>

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

void plait_main(int argc, char **argv)
{
    program = argc > 0 && argv[0] ? argv[0] : "plait";
    const char *host = getenv(PL_ZYGOTE_VARIABLE);
    if (!host) {
        (void)pl_arena_open(); // who needs it is told why there is none
        return;
    }
    int pid = atoi(host);
    // Not for what this process or its tasks start.
    unsetenv(PL_ZYGOTE_VARIABLE);
    if (pid > 0 && pl_process_parent() == pid && pl_fd_is_message_socket(PL_PROCESS_CHANNEL))
        pl_zygote_main(pid);
}
