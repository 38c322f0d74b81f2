// SPDX-License-Identifier: MIT
// job.h - a piece of work that has not started, or a message: what queues, deques and inboxes hold.
#ifndef PL_CORE_JOB_H
#define PL_CORE_JOB_H

struct pl_job {
    struct pl_job *next; /* in the one queue that holds it */

    /* A job runs on a fiber of its own, with refused = 0, and frees or completes itself; where no
     * fiber can be had it is called on the worker's own stack with the negative errno it must end
     * with. A message is always called on the worker's own stack, and must not wait. */
    void (*run)(struct pl_job *job, int refused);
};

#endif
