"""A fake model behind real HTTP, in a process of its own, that counts its calls by prompt.

``POST /ask`` with a prompt answers it after a moment that depends on the prompt, so that calls end
in another order than they begin. ``GET /counts`` says how often each prompt was asked;
``GET /asked/<n>`` answers when so many calls have begun.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from zlib import crc32

from aiohttp import web

ANSWERED_S = (0.001, 0.004, 0.02)


async def serve() -> None:
    """Serve on a free port of loopback, print its number, and go on until stdin is closed."""
    asked: Counter[str] = Counter()
    more = asyncio.Condition()

    async def ask(request: web.Request) -> web.Response:
        prompt = await request.text()
        async with more:
            asked[prompt] += 1
            more.notify_all()
        await asyncio.sleep(ANSWERED_S[crc32(prompt.encode()) % len(ANSWERED_S)])
        return web.Response(text=f"{prompt}!")

    async def counts(request: web.Request) -> web.Response:
        return web.json_response(asked)

    async def enough(request: web.Request) -> web.Response:
        wanted = int(request.match_info["n"])
        async with more:
            await more.wait_for(lambda: asked.total() >= wanted)
        return web.Response(text="now")

    app = web.Application()
    app.router.add_post("/ask", ask)
    app.router.add_get("/counts", counts)
    app.router.add_get("/asked/{n}", enough)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
