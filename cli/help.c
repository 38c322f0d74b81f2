// SPDX-License-Identifier: MIT
// What the program says of itself; see help.h.
#include "help.h"
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Help goes to standard output, where a full disk is a failure too. */
static int finish(struct text *t)
{
    bool bad = fwrite(t->data, 1, t->bytes, stdout) != t->bytes || fflush(stdout) != 0;
    text_free(t);
    if (bad && errno != EPIPE)
        say("standard output: %s", strerror(errno));
    return bad ? EXIT_FAILED : EXIT_FINE;
}

static void list_jobs(struct text *t)
{
    for (size_t i = 0; jobs[i]; i++)
        text_printf(t, "  %-35s %s\n", jobs[i]->usage, jobs[i]->summary);
}

int help_program(void)
{
    struct text t = { 0 };
    text_puts(&t,
              "plait runs a job over many inputs: as fibers on one thread, on every core, or in\n"
              "processes that can be killed.\n"
              "\n"
              "  plait run [OPTION...] JOB [INPUT...]   run a job; inputs also come from lines\n"
              "                                         of standard input\n"
              "  plait help [run|JOB]                   this text, the options, a job in detail\n"
              "  plait --version                        the version\n"
              "\n"
              "Jobs:\n");
    list_jobs(&t);
    text_puts(&t, "\n"
                  "Examples:\n"
                  "  find . -name '*.iso' | plait run sha256\n"
                  "  plait run --on processes primes 100000 200000\n"
                  "  plait run fetch -o pages --timeout 10s --retries 2 < urls\n"
                  "  ls *.wav | plait run -j 4 exec -- flac -s {}\n");
    return finish(&t);
}

int help_run(void)
{
    struct text t = { 0 };
    text_puts(&t,
              "plait run [OPTION...] JOB [INPUT...]\n"
              "\n"
              "Runs JOB over each INPUT, or over each line of standard input when there is none,\n"
              "and prints the results in the order of the inputs.\n"
              "\n"
              "Jobs:\n");
    list_jobs(&t);
    text_printf(&t, "\nOptions:\n%s", options_help);
    text_puts(
        &t, "\n"
            "Where a job runs:\n"
            "  fibers      one thread; inputs that wait cost almost nothing, those that compute\n"
            "              hold up the others. For many connections.\n"
            "  threads     every core. For nearly everything.\n"
            "  processes   every core, and a crash loses one input only. A job that does not end\n"
            "              is killed when its time is over.\n"
            "\n"
            "Failed inputs go to standard error as `plait: INPUT: what happened`; the others go\n"
            "on. Ctrl-C stops at once, after printing what was done; a second one does not wait.\n"
            "\n"
            "Exit status: 0 all is well; 1 some inputs failed; 2 wrong usage, nothing was run;\n"
            "130 after Ctrl-C. When the reader of standard output goes away, plait ends quietly\n"
            "by SIGPIPE (141 in a shell), as other tools do.\n");
    return finish(&t);
}

int help_job(const char *name)
{
    if (strcmp(name, "run") == 0)
        return help_run();
    const struct job *job = strchr(name, ':') ? &job_plugin : NULL;
    for (size_t i = 0; jobs[i] && !job; i++) {
        if (strcmp(jobs[i]->name, name) == 0)
            job = jobs[i];
    }
    if (!job) {
        job_find(name); /* says that there is none */
        return EXIT_USAGE;
    }
    struct text t = { 0 };
    text_printf(&t, "plait run [OPTION...] %s\n\n%s.\n\n%s\n`plait help run` lists the options.\n",
                job->usage, job->summary, job->help);
    return finish(&t);
}

int help_version(void)
{
    struct text t = { 0 };
    text_printf(&t, "plait %s\n", plait_version());
    return finish(&t);
}
