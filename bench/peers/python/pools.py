#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pools.py ROUND [PROGRAM]: the questions of bench/processes.c put to the pools of Python, one JSON
line an answer. Each pool gets the settings that serve it best: map in chunks where it has them,
forked workers, uvloop. What happens to killed workers and late tasks is asked in round 1 only, each
in a process of its own with a limit of time, since some pools never return.
"""
import asyncio
import concurrent.futures
import ctypes
import json
import multiprocessing
import multiprocessing.shared_memory
import os
import signal
import subprocess
import sys
import tempfile
import time

import aiomultiprocess
import loky
import uvloop

WORKERS = 2
MIB = 1 << 20
TRIPS, SINGLE, MAPPED, MEGABYTES, LARGE = 300, 2000, 20000, 20, 2
TASKS, TASK_S = 40, 0.05  # while a worker is killed, or a task is late
LIMIT_S = 10  # for all of them to end


# ---- what runs in the workers


def nothing(_):
    return None


def ends(data):
    return data[0] + data[-1]


ATTACHED = {}


def ends_shared(name):
    if name not in ATTACHED:
        ATTACHED[name] = multiprocessing.shared_memory.SharedMemory(name)
    return ends(ATTACHED[name].buf)


def where(_):
    time.sleep(TASK_S)
    return os.getpid()


def for_ever(path):
    while True:
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{os.getpid()} {time.monotonic()}")
        time.sleep(0.01)


async def nothing_async(_):
    return None


async def ends_async(data):
    return ends(data)


async def where_async(_):
    await asyncio.sleep(TASK_S)
    return os.getpid()


async def for_ever_async(path):
    while True:
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{os.getpid()} {time.monotonic()}")
        await asyncio.sleep(0.01)


# ---- the pools, each with the same calls


class Executor:
    """concurrent.futures, and what is built like it."""

    name = "ProcessPoolExecutor"

    def __init__(self):
        self.pool = self.new()

    def new(self):
        return concurrent.futures.ProcessPoolExecutor(WORKERS)

    def call(self, fn, argument):
        return self.pool.submit(fn, argument).result()

    def each(self, fn, count):
        for f in [self.pool.submit(fn, None) for _ in range(count)]:
            f.result()

    def map(self, fn, count):
        for _ in self.pool.map(fn, range(count), chunksize=count // (4 * WORKERS)):
            pass

    def start(self, fn, argument):
        return self.pool.submit(fn, argument)

    def finish(self, started, until):
        """The result, or an exception; TimeoutError when it does not come."""
        try:
            return started.result(max(0, until - time.monotonic()))
        except concurrent.futures.TimeoutError:
            raise TimeoutError from None

    def cancel(self, started):
        return started.cancel()

    def pause(self, seconds):
        time.sleep(seconds)

    def close(self):
        self.pool.shutdown()


class Loky(Executor):
    name = "loky"

    def new(self):
        return loky.ProcessPoolExecutor(WORKERS)


class Pool(Executor):
    name = "multiprocessing.Pool"

    def new(self):
        return multiprocessing.Pool(WORKERS)

    def call(self, fn, argument):
        return self.pool.apply(fn, (argument,))

    def each(self, fn, count):
        for r in [self.pool.apply_async(fn, (None,)) for _ in range(count)]:
            r.get()

    def map(self, fn, count):
        self.pool.map(fn, range(count))  # its own choice of chunks is the same

    def start(self, fn, argument):
        return self.pool.apply_async(fn, (argument,))

    def finish(self, started, until):
        try:
            return started.get(max(0, until - time.monotonic()))
        except multiprocessing.TimeoutError:
            raise TimeoutError from None

    def cancel(self, started):
        return None  # it has no such call

    def close(self):
        self.pool.close()
        self.pool.join()


class Aio(Executor):
    """Its tasks are coroutines; the caller's loop runs while it waits."""

    name = "aiomultiprocess"
    same = {nothing: nothing_async, ends: ends_async, where: where_async, for_ever: for_ever_async}

    def new(self):
        self.loop = uvloop.new_event_loop()

        async def make():
            return aiomultiprocess.Pool(WORKERS, childconcurrency=128, queuecount=WORKERS,
                                        loop_initializer=uvloop.new_event_loop)

        return self.loop.run_until_complete(make())

    def call(self, fn, argument):
        return self.loop.run_until_complete(self.pool.apply(self.same[fn], (argument,)))

    def each(self, fn, count):
        async def all_of_them():
            await asyncio.gather(*[self.pool.apply(self.same[fn], (None,)) for _ in range(count)])

        self.loop.run_until_complete(all_of_them())

    def map(self, fn, count):
        async def all_of_them():
            await self.pool.map(self.same[fn], range(count))

        self.loop.run_until_complete(all_of_them())

    def start(self, fn, argument):
        async def begin():
            return asyncio.ensure_future(self.pool.apply(self.same[fn], (argument,)))

        return self.loop.run_until_complete(begin())

    def finish(self, started, until):
        async def wait():
            done, _ = await asyncio.wait([started], timeout=max(0, until - time.monotonic()))
            if not done:
                raise TimeoutError
            return started.result()

        return self.loop.run_until_complete(wait())

    def cancel(self, started):
        return started.cancel()

    def pause(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def close(self):
        async def end():
            self.pool.close()
            await self.pool.join()

        self.loop.run_until_complete(end())


POOLS = {c.name: c for c in (Executor, Pool, Loky, Aio)}


# ---- how fast


def answer(impl, metric, value, unit):
    print(json.dumps({"bench": "processes", "metric": metric, "impl": impl, "workers": WORKERS,
                      "value": value, "unit": unit}), flush=True)


def per(count, scale, fn):
    start = time.monotonic()
    fn()
    return (time.monotonic() - start) * scale / count


def argument(pool, size, trips):
    for i in range(trips):
        pool.call(ends, bytes([i % 256]) * size)


def shared_argument(pool, block, trips):
    place = ctypes.c_char.from_buffer(block.buf)
    for i in range(trips):
        ctypes.memset(ctypes.addressof(place), i % 256, MIB)
        pool.call(ends_shared, block.name)
    del place  # or the block could not be closed


def measure(kind):
    block = None
    if kind is Executor:  # before its workers: then they share who keeps count of blocks
        block = multiprocessing.shared_memory.SharedMemory(create=True, size=MIB)
    start = time.monotonic()
    pool = kind()
    pool.call(nothing, None)
    answer(kind.name, "open", (time.monotonic() - start) * 1e3, "ms")
    pool.map(nothing, 100)  # every worker has started
    answer(kind.name, "round trip", per(TRIPS, 1e6, lambda: [
        pool.call(nothing, None) for _ in range(TRIPS)]), "us")
    answer(kind.name, "each submitted", per(SINGLE, 1e6, lambda: pool.each(nothing, SINGLE)), "us")
    answer(kind.name, "map", per(MAPPED, 1e6, lambda: pool.map(nothing, MAPPED)), "us")
    answer(kind.name, "1 MiB", per(MEGABYTES, 1e6, lambda: argument(pool, MIB, MEGABYTES)), "us")
    answer(kind.name, "64 MiB", per(LARGE, 1e3, lambda: argument(pool, 64 * MIB, LARGE)), "ms")
    if block:
        shared_argument(pool, block, 10)  # every worker has attached it, and every page is there
        answer(f"{kind.name} shared_memory", "1 MiB",
               per(MEGABYTES, 1e6, lambda: shared_argument(pool, block, MEGABYTES)), "us")
        block.close()
        block.unlink()
    pool.close()


# ---- what happens when something goes wrong


def settle(pool, started):
    """How many gave a result, failed, never ended, and one of the errors."""
    until, fine, failed, lost, error = time.monotonic() + LIMIT_S, 0, 0, 0, ""
    for s in started:
        try:
            pool.finish(s, until)
            fine += 1
        except TimeoutError:
            lost += 1
        except Exception as e:  # whatever the pool says
            failed += 1
            error = type(e).__name__
    return fine, failed, lost, error


def goes_on(pool):
    try:
        return pool.finish(pool.start(nothing, None), time.monotonic() + 3) is None
    except Exception:
        return False


def killed(kind):
    pool = kind()
    pool.map(nothing, 100)  # every worker has started
    pid = pool.call(where, None)
    started = [pool.start(where, None) for _ in range(TASKS)]
    pool.pause(TASK_S / 2)  # each worker is in the middle of a task
    os.kill(pid, signal.SIGKILL)
    fine, failed, lost, error = settle(pool, started)
    say = [f"{fine} of {TASKS} results"]
    if failed:
        say.append(f"{failed} failed ({error})")
    if lost:
        say.append(f"{lost} without an answer after {LIMIT_S} s")
    return ", ".join(say) + (", the pool goes on" if goes_on(pool) else ", the pool is unusable")


def still_beats(path):
    with open(path, encoding="ascii") as f:
        before = f.read()
    time.sleep(0.5)
    with open(path, encoding="ascii") as f:
        return f.read() != before


def late(kind):
    pool = kind()
    pool.map(nothing, 100)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        path = os.path.join(directory, "beat")
        task = pool.start(for_ever, path)
        others = [pool.start(where, None) for _ in range(TASKS)]
        pool.pause(TASK_S / 2)
        word = {None: "has no cancel", True: "cancel() taken", False: "cancel() refused"}[
            pool.cancel(task)]
        fine, *_ = settle(pool, others)
        runs = still_beats(path)
    return f"{word}, it {'runs on' if runs else 'ended'}, {fine} of {TASKS} others fine"


def ask(metric, name):
    """One of these questions in a process of its own; what it started is killed with it. Workers
    that it leaves behind hold its stdout open, so that is a file."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([sys.executable, __file__, metric, name], stdout=out,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            child.wait(3 * LIMIT_S)
            out.seek(0)
            outcome = out.read().strip() or f"ended with {child.returncode}"
        except subprocess.TimeoutExpired:
            outcome = f"hangs: no end within {3 * LIMIT_S} s"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has left nothing
            child.wait()
    print(json.dumps({"bench": "processes", "metric": metric, "impl": name, "workers": WORKERS,
                      "outcome": outcome}), flush=True)


def main():
    if sys.argv[1] in ("killed", "late") and len(sys.argv) > 2:
        print({"killed": killed, "late": late}[sys.argv[1]](POOLS[sys.argv[2]]), flush=True)
        os._exit(0)  # some pools would wait for ever
    for kind in POOLS.values():
        measure(kind)
    if sys.argv[1] == "1":
        for metric in ("killed", "late"):
            for name in POOLS:
                ask(metric, name)


if __name__ == "__main__":
    main()
