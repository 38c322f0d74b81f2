// SPDX-License-Identifier: MIT
// registry.h - the executors of this process that have not ended.
#ifndef PL_CORE_REGISTRY_H
#define PL_CORE_REGISTRY_H

#include "core/executor.h"

void pl_registry_add(struct plait_executor *ex);

/* True for the first call, for an executor that is there. */
bool pl_registry_close(struct plait_executor *ex);

/* Before what can be seen of the executor (look.h) is freed: everything has ended. */
void pl_registry_remove(struct plait_executor *ex);

/* The youngest that is not younger than `serial`, or NULL. Between pl_look_begin() and _end(). */
struct plait_executor *pl_registry_at(uint64_t serial);

/* Whether visit() is true for all; under the registry's lock, so none ends meanwhile. */
bool pl_registry_all(bool (*visit)(struct plait_executor *ex, void *arg), void *arg);

#endif
