"""The server and the browsers that the tests of the page share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from web_visitors import ARGUMENTS, CHROMIUM, Server, Visitor


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, headless; skips where it, Playwright or trame-slicer is not installed.

    Closed after each file: Playwright's event loop runs in this thread, where other files run loops of their own.
    """
    pytest.importorskip("trame_slicer", reason='the page needs trame-slicer: pip install "deep-feature-landmarks[web]"')
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright: pip install it")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no chromium on this machine; install it, for example with apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(browser) -> Iterator[Server]:
    """One server for the tests of a file; each visitor gets a session."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def visitors(browser, request):
    """A function that lets somebody in with a browser profile of their own; foreign requests make the test fail."""
    with _visitors(browser, request.node.name) as enter:
        yield enter


@pytest.fixture(scope="module")
def regular(browser, server):
    """Somebody whose session the tests of a file share: a process for each test would double their time."""
    with _visitors(browser, "") as enter:
        yield enter(server.url)


@pytest.fixture
def visitor(regular, request) -> Visitor:
    """The regular, with nothing under way, at the first tab and with the best settings."""
    regular.name = request.node.name.removeprefix("test_")
    regular.tidy_up()
    return regular


@contextmanager
def _visitors(browser, name: str):
    contexts, foreign = [], []

    def enter(url: str, width: int = 1280, height: int = 800) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        host = url.split("/")[2]
        page.on("request", lambda sent: foreign.append(sent.url) if _is_foreign(sent.url, host) else None)
        return Visitor(page, name.removeprefix("test_")).open(url)

    yield enter
    for context in contexts:
        context.close()
    assert not foreign, "the page must fetch nothing from other hosts"


def _is_foreign(url: str, host: str) -> bool:
    return not url.startswith(("data:", "blob:")) and url.split("/")[2] != host
