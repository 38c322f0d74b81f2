// SPDX-License-Identifier: MIT
// job.h - a piece of work that has not started: what queues and deques hold.
#ifndef PL_CORE_JOB_H
#define PL_CORE_JOB_H

struct pl_job {
    struct pl_job *next;               /* in the one queue that holds it */
    void (*run)(struct pl_job *job);   /* on a fiber; frees or completes the job itself */
};

#endif
