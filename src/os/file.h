// SPDX-License-Identifier: MIT
// file.h - the door to the kernel for names of files and for directories. All of it may block.
#ifndef PL_OS_FILE_H
#define PL_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// 0 or a negative errno.
int pl_file_rename(const char *from, const char *to);
int pl_file_unlink(const char *path);
int pl_file_mkdir(const char *path, unsigned mode);
int pl_file_rmdir(const char *path);
int pl_file_truncate(int fd, int64_t bytes);

// The length of a link's target, which is written without a NUL, cut to the room.
int pl_file_readlink(const char *path, char *to, size_t bytes);

// What a file is, and which.
struct pl_file_id {
    unsigned type; // S_IFREG, ...
    uint64_t device, inode;
};

// Of a name in an open directory, or of the descriptor itself (name NULL). 0 or a negative errno.
int pl_file_identify(int fd, const char *name, bool follow, struct pl_file_id *ret);

enum { PL_DIR_HERE = -100 }; // the working directory, as a descriptor

// Opens a directory for reading. Its descriptor, or a negative errno: -ENOTDIR or -ELOOP for a
// symbolic link that is not to be followed.
int pl_dir_open(int fd, const char *name, bool follow);

// Reads entries: bytes written to the buffer, 0 at the end, or a negative errno.
int pl_dir_read(int fd, void *buffer, size_t bytes);

// Goes on behind the entry whose `next` this was; 0 is the beginning. 0 or a negative errno.
int pl_dir_seek(int fd, int64_t next);

struct pl_dir_entry {
    const char *name; // in the buffer
    unsigned type;    // S_IFREG, ...; 0: the file system does not tell
    int64_t next;
};

// Takes the entry at *at out of a buffer that pl_dir_read() has filled.
void pl_dir_take(const void *buffer, size_t *at, struct pl_dir_entry *ret);

#endif
