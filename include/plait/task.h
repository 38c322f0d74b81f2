// SPDX-License-Identifier: MIT
// Tasks: ordinary C functions, declared once.
//
//     struct range { long from, to; };
//     static int count_primes(const struct range *r, long *count);    // 0 or a negative errno
//     PLAIT_TASK(count_primes, struct range, long);
//
// The argument is copied by value when the task is submitted, the result is copied by value when it
// is asked for. Either may be `void`: the function then takes a `const void *` (or a `void *`) that
// it must not look at, and the caller writes {0}.
//
// A function of variable-length data takes bytes and appends bytes:
//
//     static int upper(const struct plait_span *in, struct plait_buffer *out);
//     PLAIT_TASK_BYTES(upper);
//
// Members of an argument or a result that are descriptors are named when the task is declared; then
// they work on every executor, also in another process:
//
//     struct request { int client; long number; };
//     static int answer(const struct request *in, int *log);
//     PLAIT_TASK_FDS(answer, struct request, int, PLAIT_FD_IN(client), PLAIT_FD_OUT_ITSELF);
//
// A declared task can be found by its name in another process, so it may run in an executor of
// processes, also when it lives in a shared library that was loaded before the executor opened.
//
// The calls of this header never suspend, and work in tasks of every executor and on plain threads.
#ifndef PLAIT_TASK_H
#define PLAIT_TASK_H

#include <plait/base.h>

/* Bytes that somebody else owns. */
struct plait_span {
    const void *data;
    size_t bytes;
};

/* Bytes that a task produces; grows by plait_buffer_append(). */
struct plait_buffer {
    void *data;
    size_t bytes;
    size_t capacity; /* private */
};

/* Stands for `void` where an object is needed. */
struct plait_nothing {
    char unused;
};

/* Flags of a task. */
enum {
    PLAIT_TASK_IS_BYTES = 1, /* in: struct plait_span, out: struct plait_buffer */
    PLAIT_TASK_HAS_FDS = 2,  /* .fds names the descriptors in argument and result */
};

/* An int of the argument, or of the result, that is a descriptor. */
struct plait_task_fd {
    uint32_t offset;
    uint32_t of_result; /* 0: of the argument */
};

/* A task has at most so many of them. */
#define PLAIT_TASK_FDS_MAX 16

/* One declared task. Made by PLAIT_TASK; lives as long as the module that declares it. */
struct plait_task {
    size_t size; /* sizeof(struct plait_task) */
    const char *name;
    int (*run)(const void *in, void *out);
    size_t in_bytes;
    size_t out_bytes;
    unsigned flags;
    const struct plait_task_fd *(*fds)(unsigned *count); /* NULL: it has none */
    struct plait_task *next;                             /* private: the registry's */
};

PLAIT_BEGIN

/* Appends to a task's result. 0 or -ENOMEM. */
PLAIT_API int plait_buffer_append(struct plait_buffer *b, const void *data, size_t bytes);

/* Makes room for `bytes` more and returns where they go, or NULL; the caller writes them and adds
 * to b->bytes. */
PLAIT_API void *plait_buffer_reserve(struct plait_buffer *b, size_t bytes);

/* Frees what plait_go() left in a buffer of the caller's, and empties it. */
PLAIT_API void plait_buffer_free(struct plait_buffer *b);

/* Of a descriptor in the calling task's argument (PLAIT_TASK_FDS): it is not closed when the task
 * ends; the caller closes it. Returns fd itself. Nor is another held for the task from then on, so
 * that a peer finds the end of file as soon as it is closed; but for a task that may have to be run
 * again (.retries). Of any other descriptor: a duplicate, close-on-exec, so that what is returned
 * is always the caller's own; -EBADF, -EMFILE. */
PLAIT_API int plait_fd_take(int fd);

/* Called by what PLAIT_TASK expands to, at load and unload of a module. */
PLAIT_API void plait_task_register(struct plait_task *task);
PLAIT_API void plait_task_unregister(struct plait_task *task);

/* The declared task of that name in the whole program, or NULL. The module loaded last wins. */
PLAIT_API const struct plait_task *plait_task_find(const char *name);

/* Calls `visit` for each declared task until it returns non-zero, and returns that. */
PLAIT_API int plait_task_each(int (*visit)(const struct plait_task *task, void *arg), void *arg);

PLAIT_END

/* The descriptor of a declared task, for calls that take one: &PLAIT_TASK_OF(fn). */
#define PLAIT_TASK_OF(fn) fn##_plait_task

#ifndef __cplusplus

/* T, or struct plait_nothing where T is void. */
#define PLAIT_OBJECT_(T)                                                                           \
    __typeof__(*_Generic((T *)0, void * : (struct plait_nothing *)0, default : (T *)0))
#define PLAIT_BYTES_(T) _Generic((T *)0, void * : (size_t)0, default : sizeof(PLAIT_OBJECT_(T)))
#define PLAIT_SIGNATURE_(fn, In, Out)                                                              \
    _Static_assert(_Generic(&fn, int (*)(const In *, Out *) : 1, default : 0),                     \
                   "PLAIT_TASK: not of the type int " #fn "(const In *, Out *)")
#define PLAIT_ALIGNMENT_(fn, In, Out)                                                              \
    _Static_assert(_Alignof(In) <= 16 && _Alignof(Out) <= 16,                                      \
                   "PLAIT_TASK: " #fn " has a type that is aligned to more than 16 bytes")
/* A pointer that must point to T (or be untyped); anything else does not compile. */
#define PLAIT_IN_PTR_(T, p)                                                                        \
    _Generic((p), const T * : (p), T * : (p), const void * : (p), void * : (p))
#define PLAIT_OUT_PTR_(T, p) _Generic((p), T * : (p), void * : (p))
/* 0 where the expression is an int; anything else does not compile. */
#define PLAIT_IS_INT_(x)       _Generic((x), int : 0)
#define PLAIT_LITERAL_(T, ...) ((const void *)&(const T)__VA_ARGS__)

#else

template <class T> struct plait_object_ {
    typedef T type;
    static const size_t bytes = sizeof(T);
};
template <> struct plait_object_<void> {
    typedef plait_nothing type;
    static const size_t bytes = 0;
};
template <class T> inline const void *plait_address_(const T &object)
{
    return &object;
}
template <class T> struct plait_is_int_;
template <> struct plait_is_int_<int> {
    static const int zero = 0;
};
template <> struct plait_is_int_<int &> {
    static const int zero = 0;
};
#define PLAIT_OBJECT_(T) plait_object_<T>::type
#define PLAIT_BYTES_(T)  plait_object_<T>::bytes
#define PLAIT_SIGNATURE_(fn, In, Out)                                                              \
    static int (*const fn##_plait_checked)(const In *, Out *) __attribute__((unused)) = fn
#define PLAIT_ALIGNMENT_(fn, In, Out)                                                              \
    static_assert(alignof(In) <= 16 && alignof(Out) <= 16,                                         \
                  "PLAIT_TASK: " #fn " has a type that is aligned to more than 16 bytes")
#define PLAIT_IN_PTR_(T, p)    static_cast<const T *>(p)
#define PLAIT_OUT_PTR_(T, p)   static_cast<T *>(p)
#define PLAIT_IS_INT_(x)       plait_is_int_<decltype(x)>::zero
#define PLAIT_LITERAL_(T, ...) plait_address_<T>(__VA_ARGS__)

#endif

/* Declares `int fn(const In *, Out *)`, which must be visible here, as a task. File scope. The
 * types are aligned to 16 bytes at most. */
#define PLAIT_TASK(fn, In, Out)                                                                    \
    PLAIT_DECLARE_(fn, In, Out)                                                                    \
    PLAIT_DESCRIBE_(fn, PLAIT_BYTES_(fn##_plait_in_type), PLAIT_BYTES_(fn##_plait_out_type), 0,    \
                    NULL)

/* The same for a task whose argument or result holds descriptors: `int` members, each named by
 * PLAIT_FD_IN(member) or PLAIT_FD_OUT(member), or by PLAIT_FD_IN_ITSELF, PLAIT_FD_OUT_ITSELF where
 * the type is `int`; at most PLAIT_TASK_FDS_MAX. One rule everywhere, for -1 is no descriptor:
 *
 * Argument: the submit duplicates the descriptor, so the caller's own stays the caller's and can be
 * closed at once. The task finds another number of the same open file (dup(2)), close-on-exec, also
 * when it is run again in another worker; when the task ends it is closed, unless it was taken by
 * plait_fd_take(). Errors of the submit are -EBADF: not an open descriptor; -EMFILE, -ENFILE: no
 * room for the duplicate.
 *
 * Result: what a task that succeeds puts there it gives away; a task that fails keeps what it has
 * opened. Each is a descriptor of its own, open (else the task's code is -EBADF); one of the
 * argument may be passed on. It belongs to the caller who gets the result: of several calls of
 * plait_result() the first, the others find -1. It is closed with the future when nobody got it. A
 * worker's task whose descriptors find no room where they go ends with -EMFILE. */
#define PLAIT_TASK_FDS(fn, In, Out, ...)                                                           \
    PLAIT_DECLARE_(fn, In, Out)                                                                    \
    static const struct plait_task_fd *fn##_plait_fds(unsigned *count)                             \
    {                                                                                              \
        typedef fn##_plait_in plait_in_ __attribute__((unused));                                   \
        typedef fn##_plait_out plait_out_ __attribute__((unused));                                 \
        static const struct plait_task_fd fds[] = { __VA_ARGS__ };                                 \
        PLAIT_FDS_FIT_(fn, sizeof fds / sizeof *fds);                                              \
        *count = sizeof fds / sizeof *fds;                                                         \
        return fds;                                                                                \
    }                                                                                              \
    PLAIT_DESCRIBE_(fn, PLAIT_BYTES_(fn##_plait_in_type), PLAIT_BYTES_(fn##_plait_out_type),       \
                    PLAIT_TASK_HAS_FDS, fn##_plait_fds)

/* In PLAIT_TASK_FDS(): the member of the argument, of the result, is a descriptor; the argument, or
 * the result, is one itself. */
#define PLAIT_FD_IN(member)                                                                        \
    {                                                                                              \
        (uint32_t) offsetof(plait_in_, member) + PLAIT_IS_INT_(((plait_in_ *)0)->member), 0        \
    }
#define PLAIT_FD_OUT(member)                                                                       \
    {                                                                                              \
        (uint32_t) offsetof(plait_out_, member) + PLAIT_IS_INT_(((plait_out_ *)0)->member), 1      \
    }
#define PLAIT_FD_IN_ITSELF                                                                         \
    {                                                                                              \
        PLAIT_IS_INT_(*(plait_in_ *)0), 0                                                          \
    }
#define PLAIT_FD_OUT_ITSELF                                                                        \
    {                                                                                              \
        PLAIT_IS_INT_(*(plait_out_ *)0), 1                                                         \
    }

#ifndef __cplusplus
#define PLAIT_FDS_FIT_(fn, n)                                                                      \
    _Static_assert((n) <= PLAIT_TASK_FDS_MAX, "PLAIT_TASK_FDS: " #fn " has too many descriptors")
#else
#define PLAIT_FDS_FIT_(fn, n)                                                                      \
    static_assert((n) <= PLAIT_TASK_FDS_MAX, "PLAIT_TASK_FDS: " #fn " has too many descriptors")
#endif

#define PLAIT_DECLARE_(fn, In, Out)                                                                \
    typedef In fn##_plait_in_type;                                                                 \
    typedef Out fn##_plait_out_type;                                                               \
    typedef PLAIT_OBJECT_(fn##_plait_in_type) fn##_plait_in;                                       \
    typedef PLAIT_OBJECT_(fn##_plait_out_type) fn##_plait_out;                                     \
    PLAIT_SIGNATURE_(fn, fn##_plait_in_type, fn##_plait_out_type);                                 \
    PLAIT_ALIGNMENT_(fn, fn##_plait_in, fn##_plait_out);                                           \
    static int fn##_plait_run(const void *in, void *out)                                           \
    {                                                                                              \
        return fn((const fn##_plait_in_type *)in, (fn##_plait_out_type *)out);                     \
    }

/* Declares `int fn(const struct plait_span *, struct plait_buffer *)`: bytes in, bytes out. */
#define PLAIT_TASK_BYTES(fn)                                                                       \
    typedef struct plait_span fn##_plait_in;                                                       \
    typedef struct plait_buffer fn##_plait_out;                                                    \
    PLAIT_SIGNATURE_(fn, struct plait_span, struct plait_buffer);                                  \
    static int fn##_plait_run(const void *in, void *out)                                           \
    {                                                                                              \
        return fn((const struct plait_span *)in, (struct plait_buffer *)out);                      \
    }                                                                                              \
    PLAIT_DESCRIBE_(fn, sizeof(struct plait_span), sizeof(struct plait_buffer),                    \
                    PLAIT_TASK_IS_BYTES, NULL)

#define PLAIT_DESCRIBE_(fn, in_size, out_size, task_flags, task_fds)                               \
    static struct plait_task fn##_plait_task = { sizeof(struct plait_task),                        \
                                                 #fn,                                              \
                                                 fn##_plait_run,                                   \
                                                 in_size,                                          \
                                                 out_size,                                         \
                                                 task_flags,                                       \
                                                 task_fds,                                         \
                                                 NULL };                                           \
    __attribute__((constructor)) static void fn##_plait_load(void)                                 \
    {                                                                                              \
        plait_task_register(&fn##_plait_task);                                                     \
    }                                                                                              \
    __attribute__((destructor)) static void fn##_plait_unload(void)                                \
    {                                                                                              \
        plait_task_unregister(&fn##_plait_task);                                                   \
    }                                                                                              \
    struct plait_task /* takes the semicolon */

#endif
