#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""downloads.py PORT COUNT WORKERS EACH: aiomultiprocess downloads so many pages of the server that
bench/downloads.c has started, and says in how many seconds, its start left out.
"""
import asyncio
import os
import sys
import time

import aiomultiprocess
import uvloop


async def nothing(_):
    return os.getpid()


async def download(page):
    port, number = page
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /%d/%d HTTP/1.0\r\n\r\n" % (os.getpid(), number))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ") and int(body) == number, answer
    return len(body)


async def run(port, count, workers, each):
    async with aiomultiprocess.Pool(workers, childconcurrency=each, queuecount=workers,
                                    loop_initializer=uvloop.new_event_loop) as pool:
        await pool.map(nothing, range(4 * workers))  # they have started
        start = time.monotonic()
        await pool.map(download, [(port, number) for number in range(count)])
        print(time.monotonic() - start)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(run(*map(int, sys.argv[1:5])))
