"""The baseline of server benchmarks: aiohttp with nothing behind it. It reads JSON and answers 201 with the same.

python -m hack.benchmarks.echo [--tls CERTIFICATE KEY]
"""

import argparse
import asyncio
import ssl

from aiohttp import web
from pydantic_core import from_json, to_json


async def _echo(request: web.Request) -> web.Response:
    body = to_json(from_json(await request.read()))
    return web.Response(status=201, body=body, content_type="application/json")


async def _serve(tls: ssl.SSLContext | None) -> None:
    app = web.Application()
    app.router.add_post("/{path:.*}", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    print(f"ready: {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.echo", description=__doc__)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.tls)
    asyncio.run(_serve(tls))


if __name__ == "__main__":
    main()
