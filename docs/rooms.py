"""A directive for Sphinx that describes every module of a room, by its docstrings."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


class Room(SphinxDirective):
    """The modules of a room, a section each: ```{room} deepfeatures.data```; rooms within it have their own pages."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        room = self.arguments[0]
        modules = pkgutil.iter_modules(import_module(room).__path__, f"{room}.")
        names = [module.name for module in modules if not module.ispkg]
        text = "\n\n".join(
            f"## {name.removeprefix(room + '.')}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```"
            for name in names
        )
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    sphinx.add_directive("room", Room)
    return {"parallel_read_safe": True}
