// SPDX-License-Identifier: MIT
// --sandbox; see sandbox.h. A program that was built without libseccomp has no sandboxes, and says
// so: there is none that is weaker.
#include "sandbox.h"

#ifdef CLI_SANDBOX

#include <plait/sandbox.h>

int sandbox_make(const struct plait_confinement **ret, const struct options *o,
                 const struct job *job)
{
    *ret = NULL;
    if (!o->sandbox)
        return EXIT_FINE;
    int error = plait_sandbox_new(ret, .files = job->opens_files ? PLAIT_SANDBOX_FILES_READ
                                                                 : PLAIT_SANDBOX_FILES_NONE);
    if (error < 0)
        say("--sandbox: %s", plait_sandbox_last_error());
    return error < 0 ? EXIT_FAILED : EXIT_FINE;
}

void sandbox_free(const struct plait_confinement *box)
{
    plait_sandbox_free(box);
}

#else

int sandbox_make(const struct plait_confinement **ret, const struct options *o,
                 const struct job *job)
{
    (void)job;
    *ret = NULL;
    if (!o->sandbox)
        return EXIT_FINE;
    say("--sandbox: this plait was built without libseccomp, and cannot make one");
    return EXIT_USAGE;
}

void sandbox_free(const struct plait_confinement *box)
{
    (void)box;
}

#endif
