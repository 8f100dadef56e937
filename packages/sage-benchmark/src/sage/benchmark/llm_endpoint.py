"""A language model that takes 100 ms: an HTTP server on loopback, in a process of its own.

``GET /call/<run>/<n>`` answers ``answer <n>`` after the latency; ``GET /stats/<run>`` says how many
calls a run made and how many were in flight at once, so that nobody wins by opening more doors.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["LATENCY_S", "endpoint", "serve"]

LATENCY_S = 0.1


async def serve(latency_s: float) -> None:
    """Serve on a free port of loopback, print its number, and go on until stdin is closed."""
    from aiohttp import web

    calls: Counter[str] = Counter()
    flying: Counter[str] = Counter()
    highest: Counter[str] = Counter()

    async def call(request: web.Request) -> web.Response:
        run, number = request.match_info["run"], request.match_info["number"]
        calls[run] += 1
        flying[run] += 1
        highest[run] = max(highest[run], flying[run])
        await asyncio.sleep(latency_s)
        flying[run] -= 1
        return web.Response(text=f"answer {number}")

    async def stats(request: web.Request) -> web.Response:
        run = request.match_info["run"]
        return web.json_response({"calls": calls[run], "highest_in_flight": highest[run]})

    app = web.Application()
    app.router.add_get("/call/{run}/{number}", call)
    app.router.add_get("/stats/{run}", stats)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


@contextmanager
def endpoint(scratch: str, latency_s: float = LATENCY_S) -> Iterator[Mapping[str, Any]]:
    """Run the server while the block runs; give its address and latency as parameters."""
    command = [sys.executable, "-m", "sage.benchmark.llm_endpoint", str(latency_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError("the benchmark's HTTP endpoint did not start")
        try:
            yield {"host": "127.0.0.1", "port": int(port), "latency_s": latency_s}
        finally:
            server.stdin.close()
            server.wait(10)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
