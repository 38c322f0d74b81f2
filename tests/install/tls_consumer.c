// SPDX-License-Identifier: MIT
// A stranger's program that uses the installed TLS library.
#include <plait.h>
#include <plait/tls.h>
#include <stdio.h>

int main(void)
{
    plait_tls_context *c;
    if (plait_tls_context_new(&c, PLAIT_TLS_CLIENT) != 0)
        return 2;
    plait_tls_context_free(c);
    if (plait_tls_context_new(&c, PLAIT_TLS_SERVER) != -EINVAL)
        return 3;
    puts(plait_tls_last_error());
    return 0;
}
