"""Requests and messages of a browser, passed on to the process of its session."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from aiohttp import web

from DeepFeatureLandmarksWeb.server.session import KEY_HEADER
from DeepFeatureLandmarksWeb.server.session_process import SessionProcess

MESSAGE_LIMIT = 2**26
HOP_BY_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-encoding"}


async def proxy_http(
    client: aiohttp.ClientSession, request: web.Request, session: SessionProcess
) -> web.StreamResponse:
    """Pass one request and its answer on, as they stream."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP_HEADERS}
    headers[KEY_HEADER] = session.key
    headers.pop("Cookie", None)
    body = request.content if request.can_read_body else None
    url = f"http://127.0.0.1:{session.port}{request.rel_url}"
    try:
        async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP_HEADERS}
            if encoding := answer.headers.get("Content-Encoding"):
                kept["Content-Encoding"] = encoding
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(request)
            async for chunk in answer.content.iter_chunked(2**16):
                await passed.write(chunk)
            await passed.write_eof()
            return passed
    except aiohttp.ClientConnectionError:
        return web.json_response({"error": "the connection to this session was lost; try again"}, status=502)


async def proxy_websocket(
    client: aiohttp.ClientSession, request: web.Request, session: SessionProcess
) -> web.StreamResponse:
    """Pass the messages of one browser window on, both ways."""
    outside = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False, heartbeat=30)
    await outside.prepare(request)
    session.connections += 1
    try:
        async with client.ws_connect(
            f"ws://127.0.0.1:{session.port}{request.rel_url}",
            headers={KEY_HEADER: session.key},
            max_msg_size=MESSAGE_LIMIT,
        ) as inside:
            ways = [asyncio.create_task(_pump(outside, inside)), asyncio.create_task(_pump(inside, outside))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    except aiohttp.ClientError:
        pass  # the browser tries again by itself, and shows an error if the session has ended
    finally:
        session.connections -= 1
        session.left_at = time.monotonic()
        await outside.close()
    return outside


async def _pump(source, sink) -> None:
    async for message in source:
        if message.type == aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type == aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
