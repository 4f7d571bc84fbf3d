"""What takes a while: the page says what is being done and takes no clicks; errors of files are shown in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from DeepFeatureLandmarksWeb.session_context import SessionContext
from deepfeatures.errors import InputError, is_out_of_memory, out_of_memory

SHOWN_S = 0.05  # until the page shows what is about to be done


@asynccontextmanager
async def taking_time(context: SessionContext, text: str) -> AsyncIterator[None]:
    """The page shows a text, and takes no clicks, while this context lasts."""
    with context.server.state:
        context.state.is_loading, context.state.loading_text = True, text
    try:
        await asyncio.sleep(SHOWN_S)
        yield
    finally:
        with context.server.state:
            context.state.is_loading = False


@asynccontextmanager
async def reading(context: SessionContext, path: Path) -> AsyncIterator[None]:
    """A file is read while this context lasts. Errors are shown, with the file's name and not its folder."""
    async with taking_time(context, f"Reading {path.name} …"):
        try:
            yield
        except InputError as error:
            context.warn(str(error).replace(f"{path.parent}/", ""))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            context.warn(out_of_memory(path.name))
