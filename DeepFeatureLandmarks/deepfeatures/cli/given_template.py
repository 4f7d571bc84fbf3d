"""The template of a command: a volume and its landmarks, or a protocol, which holds both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfeatures.errors import InputError

TemplateFiles = tuple[Path, Path | None]  # volume and landmarks, or a protocol and `None`


def given_templates(
    templates: Sequence[Path], landmarks: Sequence[Path], protocol: str | None
) -> tuple[TemplateFiles, ...]:
    """The files of each template.

    Raises:
        InputError: No template is given, or beside a protocol, or there are not as many landmark files as volumes.
    """
    if protocol is not None:
        if templates or landmarks:
            raise InputError(
                f"the protocol {protocol} holds a template and its landmarks; leave out --template and --landmarks,"
                " or --protocol"
            )
        return ((Path(protocol), None),)
    if not templates and not landmarks:
        raise InputError("there is no template; give --template and --landmarks, or --protocol")
    if len(templates) != len(landmarks):
        raise InputError(f"there are {len(templates)} --template and {len(landmarks)} --landmarks; give one for each")
    return tuple(zip(templates, landmarks, strict=True))


def given_template(template: Path | None, landmarks: Path | None, protocol: str | None) -> TemplateFiles:
    """The files of the only template; raises what `given_templates` does."""
    return given_templates([template] if template else [], [landmarks] if landmarks else [], protocol)[0]
