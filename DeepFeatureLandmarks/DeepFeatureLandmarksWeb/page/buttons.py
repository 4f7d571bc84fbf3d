"""Buttons that are only an icon, with words for those who rest the pointer on them or listen."""

from __future__ import annotations

from collections.abc import Callable

from trame.widgets.vuetify3 import VBtn, VIcon, VTooltip


def icon_button(icon: str, title: str, click: Callable, *, active: str = "", disabled: str = "") -> None:
    """A button of the page's header."""
    more = {"color": (f"{active} ? '#56B4E9' : undefined",)} if active else {}
    if disabled:
        more["disabled"] = (disabled,)
    with VBtn(icon=True, variant="text", size="small", click=click, raw_attrs=[f'aria-label="{title}"'], **more):
        VIcon(icon)
        VTooltip(title, activator="parent", location="bottom")


def small_icon(icon: str, title: str, click, *, disabled: str = "", stop: bool = False) -> None:
    """An icon button of a table's row."""
    more = {"disabled": (disabled,)} if disabled else {}
    attributes = [f'title="{title}"', f'aria-label="{title}"']
    with VBtn(
        icon=True,
        variant="text",
        size="x-small",
        density="comfortable",
        raw_attrs=attributes,
        **{"v_on_click_stop" if stop else "click": click},
        **more,
    ):
        VIcon(icon, size="16")
