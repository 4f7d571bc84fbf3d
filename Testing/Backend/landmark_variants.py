"""Three points as landmark files: as Slicer and spreadsheets of all times write them, and as this package does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import FORMATS

NAMES = ("1", "2", "3")  # the only ones that every format can hold
POSITIONS = np.array([[-31.25, 22.5, -140.75], [0.125, -7.0, 3.5], [84.0, 12.625, -2.25]])
POINTS = LandmarkSet(tuple(Landmark(name, tuple(map(float, row))) for name, row in zip(NAMES, POSITIONS, strict=True)))
RAS = np.array([-1, -1, 1])
LINE_ENDS = {"Unix": "\n", "Windows": "\r\n", "old Mac": "\r"}
MARK = "\ufeff"  # with which spreadsheets begin a file
HEADERS = {
    "3.6": ("# name = F", "# numPoints = 3", "# visibility = 1"),
    "4.0": ("# Markups fiducial file version = 4.0", "# CoordinateSystem = {number}", "{columns}"),
    "4.10": ("# Markups fiducial file version = 4.10", "# CoordinateSystem = {number}", "{columns}"),
    "4.11": ("# Markups fiducial file version = 4.11", "# CoordinateSystem = {name}", "{columns}"),
    "5.6": ("# Markups fiducial file version = 5.6", "# CoordinateSystem = {name}", "{columns}"),
}
COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
AXES = {"LPS": ("l", "p", "s"), "RAS": ("r", "a", "s")}


def texts() -> Iterator[tuple[str, str, str]]:
    """What tests call it, the file's suffix and its text."""
    for version, system, (end, ends) in itertools.product(HEADERS, ("LPS", "RAS"), LINE_ENDS.items()):
        if version != "3.6" or system == "RAS":
            for quoted in (False, True):
                text = ends.join(_fcsv(version, system, quoted)) + ends
                yield f"fcsv {version} {system} {end}{' quoted' if quoted else ''}", ".fcsv", text
    yield "fcsv with a byte order mark", ".fcsv", MARK + "\n".join(_fcsv("5.6", "LPS", True))
    for system, units, mixed in itertools.product(("LPS", "RAS"), (None, "mm"), (False, True)):
        kind = "in two lists" if mixed else "in one list"
        yield f"mrk.json {system} {kind}, unit {units}", ".mrk.json", json.dumps(_markups(system, units, mixed))
    for (end, ends), mark in itertools.product(LINE_ENDS.items(), ("", MARK)):
        for system in AXES:
            text = mark + ends.join(_table(system)) + ends
            yield f"csv {system} {end}{' with a mark' if mark else ''}", ".csv", text
            text = mark + ends.join(_stated(system)) + ends
            yield f"csv that states {system} {end}{' with a mark' if mark else ''}", ".csv", text


def own_suffixes() -> list[str]:
    """Of all formats that this package writes."""
    return list(FORMATS)


def _in(system: str) -> np.ndarray:
    return POSITIONS * (RAS if system == "RAS" else 1)


def _fcsv(version: str, system: str, quoted: bool) -> Iterator[str]:
    number = {"RAS": 0, "LPS": 1}[system]
    for line in HEADERS[version]:
        yield line.format(number=number, name=system, columns=COLUMNS)
    for name, (x, y, z) in zip(NAMES, _in(system), strict=True):
        label = f'"{name}"' if quoted else name
        if version == "3.6":
            yield f"{label},{x},{y},{z},1,1"
        else:
            yield f"vtkMRMLMarkupsFiducialNode_{name},{x},{y},{z},0,0,0,1,1,1,0,{label},,"


def _markups(system: str, units: str | None, mixed: bool) -> dict:
    rows = list(zip(NAMES, POSITIONS, strict=True))
    parts = [(system, rows[:1]), ("LPS" if system == "RAS" else "RAS", rows[1:])] if mixed else [(system, rows)]
    markups = []
    for own, points in parts:
        control = [
            {"id": name, "label": name, "position": (row * (RAS if own == "RAS" else 1)).tolist()}
            for name, row in points
        ]
        given = {"coordinateUnits": units} if units else {}
        markups.append({"type": "Fiducial", "coordinateSystem": own, "controlPoints": control, **given})
    return {"markups": markups}


def _table(system: str) -> Iterator[str]:
    yield ",".join(("label", *AXES[system]))
    for name, row in zip(NAMES, _in(system), strict=True):
        yield ",".join((name, *map(str, row)))


def _stated(system: str) -> Iterator[str]:
    yield f"# coordinate_system = {system}"
    yield "name,x,y,z"
    for name, row in zip(NAMES, _in(system), strict=True):
        yield ",".join((name, *map(str, row)))
