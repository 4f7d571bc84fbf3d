"""Pages that are shown where there is no session."""

from __future__ import annotations

from html import escape

from aiohttp import web

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>DeepFeatureLandmarks</title>{head}
<body style="background:#111;color:#e6e6e6;font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;\
height:100vh;margin:0"><main style="max-width:32rem;padding:2rem"><h1 style="font-size:1.4rem">{title}</h1>\
<p>{advice}</p></main></body></html>"""


def notice(status: int, title: str, advice: str, head: str = "") -> web.Response:
    """A page with an error and what to do."""
    text = PAGE.format(head=head, title=escape(title), advice=escape(advice))
    return web.Response(status=status, text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


def starting(url: str) -> web.Response:
    """A page that stays until the one at `url` answers."""
    head = f'<meta http-equiv="refresh" content="0;url={escape(url)}">'
    return notice(200, "Opening the views …", "A few seconds; each browser gets a scene of its own.", head)
