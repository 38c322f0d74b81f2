// SPDX-License-Identifier: MIT
// plait: one C function, run as a fiber, on every core, or in a process that can be killed.
#ifndef PLAIT_H
#define PLAIT_H

#include <plait/base.h>
#include <plait/task.h>
#include <plait/executor.h>
#include <plait/future.h>
#include <plait/map.h>
#include <plait/channel.h>
#include <plait/broadcast.h>
#include <plait/scope.h>
#include <plait/fiber.h>
#include <plait/local.h>
#include <plait/dump.h>
#include <plait/child.h>
#include <plait/file.h>
#include <plait/signal.h>
#include <plait/timer.h>
#include <plait/sync.h>
#include <plait/shared.h>
#include <plait/shared_buffer.h>
#include <plait/shared_sync.h>
#include <plait/shared_map.h>
#include <plait/actor.h>
#include <plait/io.h>
#include <plait/bufio.h>
#include <plait/net.h>

#endif
