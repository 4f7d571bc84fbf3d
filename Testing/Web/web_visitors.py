"""A server as users start it, and visitors with a real browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]
PICTURES = REPOSITORY / "test-output" / "web"
START_S = 60_000  # ms: a session starts a process of its own
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Quiet: a browser under test talks to the page and to nobody else.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
    "--disable-quic",
]
COMMAND = "from deepfeatures.cli.main import main; raise SystemExit(main())"
READ_STATE = "const state = (name) => window.trame.state.get('PageState__' + name)"
STATE = "window.trame.state.get('PageState__' + {!r})"


class Server:
    """`deepfeatures app` in a process of its own, on a free port.

    Args:
        arguments: Of the command.
        path: Folder in which Python looks first.
    """

    def __init__(self, *arguments: str, path: Path | None = None):
        folders = map(str, filter(None, [path, REPOSITORY / "DeepFeatureLandmarks"]))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*folders, *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "app", "--no-open", "--port", "0", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert "http://" in line, "the server did not start"
        self.url = next(word for word in line.split() if word.startswith("http://"))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()


@dataclass
class Visitor:
    """Somebody at the page."""

    page: object
    name: str

    def open(self, url: str) -> Visitor:
        self.page.goto(url)
        self.page.locator(".workspace").wait_for(timeout=START_S)
        return self

    def state(self, name: str):
        """A field of the page's state."""
        return self.page.evaluate(STATE.format(name))

    def wait_until(self, condition: str, timeout_s: float = 60) -> None:
        """Wait for a JavaScript condition in which `state(name)` is a field of the page's state."""
        self.page.wait_for_function(
            f"(() => {{ {READ_STATE}; return {condition}; }})()",
            timeout=1000 * timeout_s,
        )

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def choose(self, button: str, *files: Path, side: str = "body") -> None:
        """Press a button that opens the system's file dialogue, and choose files in it."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(side).get_by_role("button", name=button, exact=True).first.click()
        chooser.value.set_files([str(file) for file in files])

    def choose_volume(self, side: str, file: Path) -> None:
        """Replace a side's volume through the menu of its header."""
        self.button(f"Open files for the {side}").click()
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_text("Volume (NIfTI").last.click()
        chooser.value.set_files(str(file))

    def drop(self, place: str, path: Path) -> None:
        """Drop a file or a folder of the system onto what the CSS selector `place` names."""
        box = self.page.locator(place).bounding_box()
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        what = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for step in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": step, "data": what, **where})
        session.detach()

    def open_demo(self) -> None:
        """Replace whatever is open by the demo pair."""
        is_first = self.button("Try the demo pair").count()
        self.button("Try the demo pair" if is_first else "Demo pair").click()
        self.wait_until("state('is_loading')")
        self.wait_until("state('landmarks').length == 18 && state('validation_message') == '' && !state('is_loading')")

    def place(self, timeout_s: float = 120) -> None:
        self.button("Place landmarks").click()
        self.wait_until("!state('is_busy') && state('rows').length > 0", timeout_s)

    def be_slow(self) -> None:
        """Settings with which placing takes long enough to be interrupted."""
        self.tab("Place")
        self.button("As in the paper").click()
        self.wait_until("state('preset') == 'paper'")

    def tidy_up(self) -> None:
        """Leave what another test has begun."""
        self.page.set_viewport_size({"width": 1280, "height": 800})
        if self.state("is_busy"):
            self.button("Cancel").click()
            self.wait_until("!state('is_busy')")
        self.tab("Place")
        if self.state("is_marking"):
            self.button("Done").click()
        self.button("Best measured").click()
        self.wait_until("state('preset') == 'best' && !state('is_marking')")

    def export(self, title: str, menu: str | None = None) -> Path:
        """Download one of the files of the export menu, or of a menu within it; returns where it lies."""
        self.button("Export").click()
        if menu:
            self.page.get_by_text(menu).click()
        with self.page.expect_download() as download:
            self.page.get_by_text(title).click()
        return Path(download.value.path()).rename(
            Path(download.value.path()).with_name(download.value.suggested_filename)
        )

    def picture(self, step: str) -> None:
        """Keep a screenshot of this step."""
        self.page.wait_for_timeout(700)  # until the sharp picture follows the quick one
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{self.name}-{step}.png")


def mean_error_mm(placed, truth) -> float:
    """Mean distance between points of the same name."""
    known = {mark.name: np.array(mark.position) for mark in truth if mark.is_defined}
    return float(np.mean([np.linalg.norm(known[mark.name] - mark.position) for mark in placed if mark.is_defined]))
