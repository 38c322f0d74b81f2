// SPDX-License-Identifier: MIT
// The table of jobs, and what several of them share; see job.h.
#include "job.h"
#include "number.h"

#include <string.h>

const struct job *const jobs[] = { &job_sha256, &job_primes, &job_isprime, &job_fetch,
                                   &job_exec,   &job_plugin, NULL };

const char *job_names(void)
{
    static struct text names;
    if (names.bytes == 0) {
        for (size_t i = 0; jobs[i] != &job_plugin; i++)
            text_printf(&names, "%s%s", i == 0 ? "" : ", ", jobs[i]->name);
    }
    return names.data; /* text_printf() leaves a NUL behind what it adds */
}

const struct job *job_find(const char *name)
{
    for (size_t i = 0; jobs[i] != &job_plugin; i++) {
        if (strcmp(jobs[i]->name, name) == 0)
            return jobs[i];
    }
    if (strchr(name, ':'))
        return plugin_load(name);
    struct text why = { 0 };
    text_printf(&why, "there is no such job; there are %s and FILE.so:TASK", job_names());
    say_about(name, strlen(name), why.data);
    text_free(&why);
    return NULL;
}

const char *job_encode_string(struct plait_span input, struct argument *arg, const void **in)
{
    if (input.bytes == 0)
        return "an empty name";
    if (memchr(input.data, '\0', input.bytes))
        return "there is a NUL byte in it";
    text_add(&arg->bytes, input.data, input.bytes);
    text_add(&arg->bytes, "", 1);
    arg->span = (struct plait_span){ arg->bytes.data, arg->bytes.bytes };
    *in = &arg->span;
    return NULL;
}

const char *job_encode_number(struct plait_span input, struct argument *arg, const void **in)
{
    if (!number_parse(input.data, input.bytes, &arg->number))
        return "not a whole number from 0 to 18446744073709551615";
    *in = &arg->number;
    return NULL;
}
