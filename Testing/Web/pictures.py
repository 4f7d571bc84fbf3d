"""Draws the README's pictures of the page, on the demo pair: `python Testing/Web/pictures.py FOLDER`."""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from web_visitors import ARGUMENTS, CHROMIUM, Server, Visitor


def main(folder: Path) -> None:
    server = Server()
    try:
        with sync_playwright() as playwright:
            path = next(filter(None, map(shutil.which, CHROMIUM)))
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            visitor = Visitor(browser.new_page(viewport={"width": 1280, "height": 800}), "web").open(server.url)
            visitor.open_demo()
            visitor.place()
            visitor.page.keyboard.press("a")
            visitor.wait_until("state('reviewed') == 1 && state('notice') == ''")
            draw(visitor, folder / "web-review.png")
            visitor.tab("Inspect")
            visitor.button("Distance map").click()
            visitor.wait_until("state('overlay') == 'distances'")
            draw(visitor, folder / "web-inside.png")
            visitor.button("Hide").click()
            visitor.tab("Quality")
            visitor.button("3D views").click()
            visitor.page.mouse.move(600, 10)
            visitor.page.wait_for_timeout(15_000)  # without a GPU the first 3D pictures take their time
            draw(visitor, folder / "web-quality.png")
            browser.close()
    finally:
        server.stop()


def draw(visitor: Visitor, path: Path) -> None:
    visitor.page.wait_for_timeout(2000)
    visitor.page.screenshot(path=path)
    Image.open(path).convert("RGB").save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
