// SPDX-License-Identifier: MIT
// A body on its way to a file: complete under a name of its own, or not there at all.
#ifndef CLI_FETCH_FILE_H
#define CLI_FETCH_FILE_H

#include <plait.h>

enum { FETCH_NAME_MAX = 180 }; /* bytes of a file's name, without the directory */

struct fetch_file {
    const char *directory; /* "": bodies are not kept */
    int fd;
    char part[4096 + 64]; /* where it grows; "" when there is nothing to remove */
    char name[4096 + FETCH_NAME_MAX + 16];
};

/* Both strings must outlive the file. */
void fetch_file_init(struct fetch_file *f, const char *directory, const char *url);

/* All of these: 0 or a negative errno, and 0 when bodies are not kept. */
int fetch_file_write(struct fetch_file *f, const void *data, size_t bytes);

/* Gives the complete file its name, which f->name then is; it replaces nothing. */
int fetch_file_keep(struct fetch_file *f);

/* Closes it, and removes what was not kept. */
void fetch_file_drop(struct fetch_file *f);

/* "a.example_x_y.html" for "https://a.example/x/y.html": letters, digits, '.', '-' and '_' only,
 * never hidden, at most FETCH_NAME_MAX bytes. */
void fetch_file_name(const char *url, char to[FETCH_NAME_MAX + 1]);

#endif
