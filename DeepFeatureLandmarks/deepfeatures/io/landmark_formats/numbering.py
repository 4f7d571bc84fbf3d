"""Numbers for landmarks in formats that have no names."""

from __future__ import annotations

from collections.abc import Sequence

from deepfeatures.data.landmarks import LandmarkSet

LARGEST = 2**31 - 1  # that such formats hold


def different_numbers(names: Sequence[str]) -> list[int] | None:
    """The names as whole numbers, `None` where they are not, or two are the same."""
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) <= len(str(LARGEST))]
    are_names = [str(number) for number in numbers] == list(names) and max(numbers, default=0) <= LARGEST
    return numbers if are_names and len(set(numbers)) == len(numbers) else None


def numbers_of(landmarks: LandmarkSet, first: int) -> list[int]:
    """The landmarks' names, where these are different whole numbers; else their places in the list, from `first`."""
    numbers = different_numbers([landmark.name for landmark in landmarks])
    return list(range(first, first + len(landmarks))) if numbers is None else numbers
