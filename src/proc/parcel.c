// SPDX-License-Identifier: MIT
/*
 * parcel.c - what a worker sends with a result over its socket: memory, and descriptors.
 *
 * DESIGN
 *   A received descriptor is open in this process before anybody has looked at the message. So each
 *   path either keeps all that came with one, in the books of a task that may have such a result
 *   and has none yet, or closes all. What does not fit is the end of that worker.
 */
#include "proc/pool.h"

#include "core/given.h"
#include "os/alloc.h"

// Whether this can come now for a task in that slot. Of what it announces less may have come, when
// this process had no room for more.
static bool is_result(const struct pl_hand *h, const struct pl_message *m, const int *fds,
                      unsigned count)
{
    const struct pl_flight *fl = &h->flights[m->slot % PL_SLOTS];
    if (m->kind != PL_MESSAGE_CARGO || m->slot >= PL_SLOTS || fl->state != PL_FLIGHT_SENT ||
        fl->cargo != PL_CARGO_NONE || fl->parcel || m->bytes > PL_MAX_BYTES)
        return false;
    unsigned most = pl_task_fds(fl->future->task, true), memory = m->bytes > 0;
    uint64_t mask = m->slots[0];
    unsigned announced = memory + (unsigned)__builtin_popcountll(mask);
    return mask >> most == 0 && announced > 0 && m->count == announced && count <= announced &&
           (!memory || count < announced || pl_memfd_is_sealed(fds[0], m->bytes));
}

static struct pl_parcel *parcel_of(uint64_t mask, const int *fds)
{
    struct pl_parcel *parcel = pl_alloc(sizeof *parcel);
    for (unsigned i = 0; parcel && i < PLAIT_TASK_FDS_MAX; i++)
        parcel->fds[i] = mask >> i & 1 ? *fds++ : -1;
    return parcel;
}

bool pl_hand_receive_cargo(struct pl_hand *h, const struct pl_message *m, const int *fds,
                           unsigned count)
{
    struct pl_flight *fl = &h->flights[m->slot % PL_SLOTS];
    if (!is_result(h, m, fds, count)) {
        pl_fds_close(fds, count);
        return false;
    }
    bool memory = m->bytes > 0, whole = count == m->count;
    if (whole && m->slots[0])
        whole = (fl->parcel = parcel_of(m->slots[0], fds + memory)) != NULL;
    if (whole && memory) {
        fl->cargo = fds[0];
        fl->cargo_bytes = (uint32_t)m->bytes;
    } else if (!whole) {
        pl_fds_close(fds, count);
        fl->cargo = PL_CARGO_LOST;
    }
    return true;
}

void pl_hand_taken(struct pl_hand *h, const struct pl_message *m)
{
    struct pl_flight *fl = &h->flights[m->slot % PL_SLOTS];
    if (m->slot >= PL_SLOTS || fl->state != PL_FLIGHT_SENT || fl->stands_at != m->count ||
        !pl_task_has_fds(fl->future->task))
        return; // it has ended, or was told to; or it makes no sense: nothing depends on it
    fl->taken = true;
    for (unsigned i = 0; i < PLAIT_TASK_FDS_MAX; i++)
        if (m->slots[0] >> i & 1)
            pl_future_fds_taken(fl->future, i);
}

void pl_parcel_free(struct pl_parcel *parcel)
{
    if (parcel)
        pl_fds_close(parcel->fds, PLAIT_TASK_FDS_MAX);
    pl_free_mem(parcel);
}
