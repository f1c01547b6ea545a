"""Web server of the pictures.

Usage: origin.py FOLDER PORT
"""

import sys

from aiohttp import web

folder, port = sys.argv[1:]
app = web.Application()
app.add_routes([web.static("/", folder)])
web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)
