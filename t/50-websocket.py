#!/usr/bin/python3
"""A WebSocket client and server of a library, with weir between them."""

import asyncio
import os

import websockets

from lib.weir import Weir, run


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def converse(uri, i):
    async with websockets.connect(uri, max_size=None) as client:
        for message in [f"hello {i}", "", os.urandom(1 << 20), b"\0" * 65536]:
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())


def test_echo():
    async def all_of_them():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            weir = Weir(f"""
upstreams: {{app: {{servers: ["127.0.0.1:{port}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""", workers=2)
            uri = f"ws://127.0.0.1:{weir.port}/chat"
            await asyncio.wait_for(asyncio.gather(*(converse(uri, i) for i in range(10))), 120)
    asyncio.run(all_of_them())


if __name__ == "__main__":
    run()
