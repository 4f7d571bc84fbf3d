"""Lets the worker of a test find that the anatomy repeats: Python imports this file first where it is on the path.

Points are those of the real matcher; each is ambiguous, with a radius, and all may lie 33 mm towards the head.
"""

import sys
from dataclasses import replace

REPEAT_MM, CHANCE = 33.0, 0.38


def repeat(match):
    def matched(*arguments, **named):
        from deepfeatures.matching.result import Alternative

        result = match(*arguments, **named)

        def all_moved(up_mm: float):
            return replace(
                result.landmarks,
                landmarks=tuple(
                    replace(
                        one,
                        position=(*one.position[:2], one.position[2] + up_mm),
                        ambiguous=True,
                        radius_50_mm=2.0,
                        radius_90_mm=6.0,
                    )
                    if one.is_defined
                    else one
                    for one in result.landmarks
                ),
            )

        other = Alternative(all_moved(REPEAT_MM), CHANCE, "33 mm towards the head")
        return replace(result, landmarks=all_moved(0.0), alternatives=(other,))

    return matched


if "deepfeatures.service.server" in sys.orig_argv:
    from deepfeatures.matching.matcher import Matcher

    Matcher.match = repeat(Matcher.match)
