// SPDX-License-Identifier: MIT
// `plait --help`, `plait help ...`, `plait --version`. Each returns the exit status.
#ifndef CLI_HELP_H
#define CLI_HELP_H

int help_program(void);
int help_run(void);
int help_job(const char *name);
int help_version(void);

#endif
