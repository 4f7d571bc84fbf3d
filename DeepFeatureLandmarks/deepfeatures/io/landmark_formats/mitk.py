"""MITK's point sets, `.mps`: XML with a number for each point, no names, in mm.

A time step may have a geometry that takes its points to the world (LPS), as in MITK's `mitkPointSetReaderService.cpp`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_formats.coordinates import to_lps
from deepfeatures.io.landmark_formats.numbering import numbers_of


def parse(text: str, path: Path) -> LandmarkSet:
    """The points of the one time step that has any, named by their numbers."""
    if "<!DOCTYPE" in text:  # entities could make a short text long
        raise InputError(f"{path} declares a document type, which no point set has; save it from MITK again")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is not whole XML; save the point set from MITK again") from error
    if root.tag != "point_set_file":
        raise InputError(f"{path} is XML but no point set of MITK; save the point set from MITK as .mps")
    steps = [step for points in root.iter("point_set") for step in (points.findall("time_series") or [points])]
    steps = [step for step in steps if step.find("point") is not None]
    if len(steps) > 1:
        raise InputError(f"{path} has points of {len(steps)} times or sets; save those of one from MITK")
    return LandmarkSet(tuple(_landmarks(steps[0], path)) if steps else (), landmark_stem(path))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file; a point without a position is left out, and the others keep their numbers."""
    root = ElementTree.Element("point_set_file")
    _add(root, "file_version", "0.1")
    step = _add(_add(root, "point_set"), "time_series")
    _add(step, "time_series_id", "0")
    for number, landmark in zip(numbers_of(landmarks, first=0), landmarks, strict=True):
        if landmark.is_defined:
            point = _add(step, "point")
            for name, value in zip(("id", "specification", *"xyz"), (number, 0, *landmark.position), strict=True):
                _add(point, name, repr(float(value)) if name in "xyz" else str(value))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = text
    return element


def _landmarks(step: ElementTree.Element, path: Path) -> list[Landmark]:
    matrix, offset = _geometry(step.find("Geometry3D"), path)
    landmarks = []
    for row, point in enumerate(step.findall("point"), 1):
        name = (point.findtext("id") or str(row)).strip()
        index = to_lps([point.findtext(axis, "").strip() for axis in "xyz"], "LPS", f"point {name}", path)
        x, y, z = (sum(map(float.__mul__, line, index)) + start for line, start in zip(matrix, offset, strict=True))
        landmarks.append(Landmark(name, (x, y, z)))
    return landmarks


def _geometry(element: ElementTree.Element | None, path: Path) -> tuple[list[list[float]], list[float]]:
    """Matrix and offset from a step's coordinates to the world."""
    if element is None:
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0, 0.0]
    turn, offset = element.find("IndexToWorld"), element.find("Offset")
    try:
        return (
            [[float(turn.attrib[f"m_{row}_{column}"]) for column in range(3)] for row in range(3)],
            [float(offset.attrib[axis]) for axis in "xyz"],
        )
    except (AttributeError, KeyError, ValueError) as error:
        raise InputError(f"{path} has a geometry that cannot be read; save the point set from MITK again") from error
