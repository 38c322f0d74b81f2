// SPDX-License-Identifier: MIT
// FILE.so:TASK: a task of the user's own, declared with PLAIT_TASK_BYTES in a shared library.
#include "job.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    const struct plait_span *result = out;
    (void)input;
    (void)err;
    text_add(to, result->data, result->bytes);
    if (result->bytes == 0 || to->data[to->bytes - 1] != '\n')
        text_puts(to, "\n");
}

static void json(const void *out, struct json *j)
{
    const struct plait_span *result = out;
    json_bytes(j, "output", result->data, result->bytes);
}

static const char help[] =
    "TASK is a function of FILE.so that is declared with PLAIT_TASK_BYTES: it gets the bytes\n"
    "of an input and appends the bytes of its result, which is printed with a newline behind\n"
    "it where there is none. Empty lines of standard input are inputs too. It returns 0 or a\n"
    "negative errno.\n"
    "\n"
    "  cc -shared -fPIC -o upper.so plugin_upper.c $(pkg-config --cflags plait)\n"
    "  plait run ./upper.so:upper hello\n"
    "\n"
    "With --json: \"output\".\n";

#define PLUGIN                                                                                     \
    .usage = "FILE.so:TASK INPUT...", .summary = "A task of your own, from a shared library",      \
    .help = help, .window = 256, .blank_is_input = true, .opens_files = true, .print = print,      \
    .json = json

const struct job job_plugin = { .name = "FILE.so:TASK", PLUGIN };

/* The loader's name of the module that holds the descriptor. */
static bool is_of_module(const struct plait_task *task, const struct link_map *module)
{
    struct link_map *holder;
    Dl_info info;
    return dladdr1(task, &info, (void **)&holder, RTLD_DL_LINKMAP) != 0 && holder == module;
}

struct search {
    const struct link_map *module;
    struct text names;
};

static int list_task(const struct plait_task *task, void *arg)
{
    struct search *s = arg;
    if (is_of_module(task, s->module))
        text_printf(&s->names, "%s%s", s->names.bytes ? ", " : "", task->name);
    return 0;
}

static const struct plait_task *find_task(const char *name, const char *file, const char *wanted,
                                          const struct link_map *module)
{
    const struct plait_task *task = plait_task_find(wanted);
    if (task && is_of_module(task, module) && (task->flags & PLAIT_TASK_IS_BYTES))
        return task;
    struct text why = { 0 };
    if (task && is_of_module(task, module)) {
        text_printf(
            &why,
            "this task takes a C object of %zu bytes, and `plait run` has only text to give; "
            "declare it with PLAIT_TASK_BYTES",
            task->in_bytes);
    } else {
        struct search s = { .module = module };
        plait_task_each(list_task, &s);
        if (s.names.bytes > 0)
            text_printf(&why, "there is no task %s in %s; there are: %s", wanted, file,
                        s.names.data);
        else
            text_printf(&why, "%s declares no task; PLAIT_TASK_BYTES(%s) would", file, wanted);
        text_free(&s.names);
    }
    say_about(name, strlen(name), why.data);
    text_free(&why);
    return NULL;
}

static void *load(const char *name, const char *file)
{
    /* Without a slash the loader would look in the system's directories, not here. */
    struct text path = { 0 };
    text_printf(&path, "%s%s", strchr(file, '/') ? "" : "./", file);
    void *handle = dlopen(path.data, RTLD_NOW | RTLD_LOCAL);
    text_free(&path);
    if (!handle)
        say_about(name, strlen(name), dlerror());
    return handle;
}

const struct job *plugin_load(const char *name)
{
    static struct job plugin = { PLUGIN };
    static struct text file; /* named by messages until the end */
    const char *colon = strrchr(name, ':');
    if (plugin.task)
        return &plugin; /* asked for before */
    text_printf(&file, "%.*s", (int)(colon - name), name);
    if (file.bytes == 0 || colon[1] == '\0') {
        say_about(name, strlen(name), "a plug-in is named FILE.so:TASK");
        return NULL;
    }
    void *handle = load(name, file.data);
    struct link_map *module;
    if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &module) != 0)
        return NULL;
    plugin.name = name;
    plugin.task = find_task(name, file.data, colon + 1, module);
    return plugin.task ? &plugin : NULL; /* the module stays loaded: its code will run */
}
