// SPDX-License-Identifier: MIT
// A stranger's program that uses the installed sandbox library.
#include <errno.h>
#include <plait.h>
#include <plait/sandbox.h>
#include <stdio.h>

int main(void)
{
    const struct plait_confinement *box;
    if (plait_sandbox_new(&box) != 0)
        return 1;
    plait_sandbox_free(box);
    if (plait_sandbox_new(&box, .readable = (const char *const[]){ "etc", NULL }) != -EINVAL)
        return 2;
    puts(plait_sandbox_last_error());
    return 0;
}
