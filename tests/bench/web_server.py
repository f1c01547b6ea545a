"""Web server of the benchmarks: it serves a folder of pictures, and receives traces without keeping them.

Usage: web_server.py PORT FOLDER
"""

import sys

from aiohttp import web


async def receive(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


app = web.Application()
app.router.add_post("/v1/traces", receive)
app.router.add_static("/", sys.argv[2])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
