"""Where all points may lie in another place, a person sees both side by side, takes the other, and goes back."""

from __future__ import annotations

import numpy as np
import pytest
from web_visitors import REPOSITORY, Server

from deepfeatures.io.landmark_files import read_landmarks

REPEATING = REPOSITORY / "Testing" / "Web" / "repeating"
TEXT = "33 mm towards the head"


@pytest.fixture
def visitor(browser, visitors):
    """Somebody at a server whose workers find that the anatomy repeats."""
    server = Server(path=REPEATING)
    yield visitors(server.url)
    server.stop()


def heights(visitor) -> dict[str, float]:
    return {one.name: one.position[2] for one in read_landmarks(visitor.export("Placed landmarks, for Slicer"))}


def test_both_places_are_compared_and_the_other_is_taken_and_left_again(visitor):
    visitor.open_demo()
    visitor.place()
    box = visitor.page.locator(".alternatives")
    assert box.locator("p").inner_text() == (
        f"The anatomy repeats: all points may lie {TEXT}. Chance 62 % as shown, 38 % the other way."
    )
    assert {row["status_text"] for row in visitor.state("rows")} == {"◆ ambiguous"}
    visitor.picture("1-ambiguous")
    first = heights(visitor)

    visitor.button("Side by side").click()
    head = visitor.page.locator(".side-template .head")
    visitor.wait_until("state('compared') == 1")
    assert head.locator(".role").inner_text().lower() == "target, other place"
    assert head.locator(".name").inner_text() == visitor.state("target__SideState__title")
    visitor.page.keyboard.press("n")
    visitor.picture("2-side-by-side")

    accepted = visitor.state("current")
    visitor.page.keyboard.press("a")
    visitor.wait_until("state('reviewed') == 1")
    visitor.button("Take the other").click()
    visitor.wait_until("state('ambiguity').startsWith('The other place was taken')")
    assert f"1 reviewed by you left unchanged: {accepted}." in visitor.page.locator(".toast").inner_text()
    visitor.picture("3-other-taken")
    assert visitor.state("compared") == 0  # what was on the right is on the left now
    taken = heights(visitor)
    steps = {name: 0.0 if name == accepted else 33.0 for name in first}
    assert {name: round(taken[name] - first[name], 2) for name in first} == steps
    report = visitor.export("Report (.html)").read_text(encoding="utf-8")
    assert f"other place taken by a person: {TEXT}" in report

    visitor.button("Take the other").click()
    visitor.wait_until("state('ambiguity').startsWith('The anatomy repeats')")
    assert np.allclose([heights(visitor)[name] for name in first], list(first.values()), atol=1e-3)

    visitor.tab("Place")
    visitor.wait_until("state('compared') == -1")
    assert head.locator(".role").inner_text().lower() == "template"
    visitor.picture("4-template-again")
    visitor.tab("Review")
    for _ in range(3):
        visitor.button("Revert the last run").click()
        visitor.page.wait_for_timeout(500)
    visitor.wait_until("state('ambiguity') == ''")
    assert box.count() == 0
