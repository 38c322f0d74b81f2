// SPDX-License-Identifier: MIT
// The program `plait`: one job over many inputs, on the executor of your choice.
//
//     main.c     this file: which command      jobs.c, jobs/  the jobs
//     options.c  the options of `run`          help.c         what the program says of itself
//     run.c      the driver                    output.c       results, messages, progress
//     inputs.c   words or streamed lines       interrupt.c    Ctrl-C
//     work.c     inputs on their way           journal.c      what --resume goes on from
#include "help.h"
#include "options.h"
#include "run.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A descriptor 0 to 2 that is closed would be taken by the next file that is opened. In its place
 * comes one that fails as it should: reading from 0, writing to 1 and 2. */
static void occupy_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED);
    }
}

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    occupy_standard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* a closed standard output is EPIPE */

    const char *command = argc > 1 ? argv[1] : "";
    char *self = "plait"; /* what getopt_long() begins its messages with */
    if (strcmp(command, "run") == 0) {
        argv[1] = self;
        struct options o;
        int status = options_parse(&o, argc - 1, argv + 1);
        if (status < 0)
            status = run(&o);
        options_free(&o);
        return status;
    }
    if (strcmp(command, "help") == 0 && argc > 2)
        return help_job(argv[2]);
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0)
        return help_program();
    if (strcmp(command, "--version") == 0 || strcmp(command, "version") == 0)
        return help_version();
    if (argc > 1)
        say_about(command, strlen(command), "there is no such command");
    else
        say("what to do? `plait run JOB` runs a job");
    output_stderr("Try `plait --help`.\n", 20);
    return EXIT_USAGE;
}
