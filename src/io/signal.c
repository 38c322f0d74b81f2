// SPDX-License-Identifier: MIT
/*
 * signal.c - signals as values in a channel.
 *
 * DESIGN
 *   The handler (os/signal.c) can take no lock, so it cannot put anything into a channel. Each
 *   subscription has a thread for that: it compares the counts of its signals with those it saw
 *   last, and puts a value for the next one that differs. The channel has no room, so the put waits
 *   for whoever takes the value; what comes meanwhile only raises a count. That bounds the memory,
 *   loses no kind of signal, and the search goes round, so that a storm of one does not hold up
 *   another.
 */
#include <plait/signal.h>

#include "os/alloc.h"
#include "os/signal.h"
#include "os/thread.h"
#include <stdatomic.h>

enum { STACK_BYTES = 256 << 10 };

struct plait_signals {
    plait_channel *channel;
    pthread_t thread;
    _Atomic bool stop;
    unsigned count, turn;
    int numbers[PLAIT_SIGNALS_MAX];
    uint32_t seen[PLAIT_SIGNALS_MAX];
};

/* The next that has come since it was last passed on. */
static bool take(plait_signals *s, struct plait_signal *ret)
{
    for (unsigned i = 0; i < s->count; i++) {
        unsigned k = (s->turn + i) % s->count;
        int pid;
        uint32_t count = pl_signal_count(s->numbers[k], &pid);
        if (count == s->seen[k])
            continue;
        *ret = (struct plait_signal){ s->numbers[k], pid, count - s->seen[k] };
        s->seen[k] = count;
        s->turn = k + 1;
        return true;
    }
    return false;
}

static void *pass_on(void *arg)
{
    plait_signals *s = arg;
    for (unsigned i = 0; i < s->count; i++)
        pl_signal_unblock(s->numbers[i]);
    for (;;) {
        struct plait_signal value;
        uint32_t bell = pl_signal_bell(); /* first: what comes after the looks below changes it */
        if (atomic_load(&s->stop))
            break;
        if (!take(s, &value))
            pl_signal_sleep(bell);
        else if (plait_put(s->channel, &value) < 0)
            break; /* closed: nobody wants any more */
    }
    return NULL;
}

static int copy_numbers(plait_signals *s, const struct plait_signal_list *list)
{
    for (unsigned i = 0; i < PLAIT_SIGNALS_MAX && list->numbers[i] != 0; i++) {
        int number = list->numbers[i];
        if (!pl_signal_is_async(number))
            return -EINVAL;
        bool twice = false;
        for (unsigned k = 0; k < s->count; k++)
            twice |= s->numbers[k] == number;
        if (!twice)
            s->numbers[s->count++] = number;
    }
    return s->count > 0 ? 0 : -EINVAL;
}

static int catch_all(plait_signals *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        int pid;
        s->seen[i] = pl_signal_count(s->numbers[i], &pid);
        int err = pl_signal_catch(s->numbers[i]);
        if (err < 0) {
            while (i > 0)
                pl_signal_release(s->numbers[--i]);
            return err;
        }
    }
    return 0;
}

static void release_all(plait_signals *s)
{
    for (unsigned i = 0; i < s->count; i++)
        pl_signal_release(s->numbers[i]);
}

int plait_signals_new_with(plait_signals **ret, const struct plait_signal_list *list)
{
    plait_signals *s = pl_zalloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    int err = copy_numbers(s, list);
    if (err == 0)
        err = plait_channel_new(&s->channel, sizeof(struct plait_signal), .capacity = 0);
    if (err == 0)
        err = catch_all(s);
    if (err == 0) {
        err = pl_thread_start(&s->thread, "plait/signals", STACK_BYTES, pass_on, s);
        if (err < 0)
            release_all(s);
    }
    if (err < 0) {
        plait_channel_free(s->channel);
        pl_free_mem(s);
        return err;
    }
    *ret = s;
    return 0;
}

plait_channel *plait_signals_channel(plait_signals *s)
{
    return s->channel;
}

void plait_signals_free(plait_signals *s)
{
    if (!s)
        return;
    atomic_store(&s->stop, true);
    plait_channel_close(s->channel); /* in case it waits in there */
    pl_signal_ring();                /* in case it sleeps */
    pl_thread_join(s->thread);
    release_all(s);
    plait_channel_free(s->channel);
    pl_free_mem(s);
}
