// SPDX-License-Identifier: MIT
// registry.h - the executors that are open in this process.
#ifndef PL_CORE_REGISTRY_H
#define PL_CORE_REGISTRY_H

#include "core/executor.h"

void pl_registry_add(struct plait_executor *ex);

/* False when it is not there: closed already. Compares addresses only. */
bool pl_registry_remove(struct plait_executor *ex);

#endif
