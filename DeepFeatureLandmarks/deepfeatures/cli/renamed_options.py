"""Former names of options: they work for one more version, and a warning names the new one."""

from __future__ import annotations

from collections.abc import Sequence

RENAMED = {
    "cohort": {"--alone": "--independent"},
    "evaluate": {"--pose": "--initialization"},
    "place": {"--alone": "--independent", "--pose": "--initialization"},
    "quality": {"--machine": "--automatic-rater", "--scans": "--volumes"},
}


def with_current_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command line under the options' current names, and a warning for each former name."""
    renamed = RENAMED.get(arguments[0], {}) if arguments else {}
    current, warnings = [], []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in renamed:
            warnings.append(f"{name} is now {renamed[name]}; the old name works for one more version")
            argument = f"{renamed[name]}{equals}{value}"
        current.append(argument)
    return current, list(dict.fromkeys(warnings))
