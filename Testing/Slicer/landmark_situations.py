"""Landmark files that people and old programs leave, and what this package and 3D Slicer make of each.

    python Testing/Slicer/landmark_situations.py

prints the table of landmark files in `docs/reference/reading.md`, as measured with slicer-core's own storage nodes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from deepfeatures.data.landmarks import STATUSES
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.native_output import suppress_native_output

COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
STORAGE = {".fcsv": "vtkMRMLMarkupsFiducialStorageNode", ".json": "vtkMRMLMarkupsJsonStorageNode"}
FILL = "," * 13  # with which a spreadsheet fills up a line that has one field


@dataclass(frozen=True)
class Situation:
    """A landmark file.

    Args:
        format: Its suffix.
        what: What is the matter, in words.
        text: Of the file.
    """

    format: str
    what: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Args:
        points: Name, status, and LPS mm to a thousandth where the status is `defined`; `None` where it was refused.
        words: The refusal, or the notes.
    """

    points: list[tuple[str, str, tuple[float, ...]]] | None
    words: str = ""


def fcsv(*texts: str, system: str = "# CoordinateSystem = LPS\n", version: str = "4.10") -> str:
    """Two rows or more: what stands after the flags, at places that tell the axes apart."""
    header = f"# Markups fiducial file version = {version}\n{system}{COLUMNS}\n"
    return header + "".join(f"{n},{n},20,30,0,0,0,1,1,1,0,{text}\n" for n, text in enumerate(texts, 1))


def markups(*given: dict) -> str:
    points = [{"label": "AC", "position": [1, 20, 30]}, {"label": "PC", "position": [2, 20, 30]}]
    return json.dumps({"markups": [{"type": "Fiducial", "controlPoints": points} | one for one in given]})


UNPLACED = {"controlPoints": [{"label": "AC", "position": [1, 20, 30], "positionStatus": "undefined"}]}
SITUATIONS = (
    Situation(".fcsv", "as 3D Slicer 4.10 writes it", fcsv("AC,seen,", "PC,,vtkMRMLScalarVolumeNode1")),
    Situation(".fcsv", "as 3D Slicer 5 writes it, one point missing", fcsv("AC,,,2,0", "PC,,,3,0")),
    Situation(".fcsv", "coordinates RAS as the number 0", fcsv("AC,,", "PC,,", system="# CoordinateSystem = 0\n")),
    Situation(".fcsv", "no coordinate system", fcsv("AC,,", "PC,,", system="")),
    Situation(".fcsv", "labels begin with a quote that is not closed", fcsv('"AC,,', '"PC,,')),
    Situation(".fcsv", "quotes within a label are doubled", fcsv('"the ""AC"", left",,', "PC,,")),
    Situation(".fcsv", "quotes within a label are not doubled", fcsv('"AC" left,,', "PC,,")),
    Situation(".fcsv", "a comma within a label, without quotes", fcsv("AC, left,,", "PC,,")),
    Situation(".fcsv", "a comma at the end of a row", fcsv("AC,,,", "PC,,")),
    Situation(".fcsv", "of 3D Slicer 3", "# columns = label,x,y,z,sel,vis\nAC,1,20,30,1,1\n"),
    Situation(".fcsv", "the last fields are left out", fcsv("AC", "PC,seen")),
    Situation(".fcsv", "a comma between two numbers is lost", fcsv("AC,,", "PC,,").replace("2,20,", "2,20")),
    Situation(".fcsv", "a word instead of a number", fcsv("AC,,", "PC,,").replace("2,20", "2,twenty")),
    Situation(".fcsv", "a position that is NaN", fcsv("AC,,", "PC,,").replace("2,20", "2,nan")),
    Situation(
        ".fcsv",
        "saved by a spreadsheet",
        fcsv("AC,,", "PC,,", system=f"# CoordinateSystem = LPS{FILL}\n", version=f"4.10{FILL}") + f"{FILL}\n",
    ),
    Situation(".mrk.json", "as 3D Slicer 5 writes it", markups({"coordinateSystem": "LPS", "coordinateUnits": "mm"})),
    Situation(".mrk.json", "no coordinate system", markups({})),
    Situation(".mrk.json", "coordinates RAS", markups({"coordinateSystem": "RAS"})),
    Situation(".mrk.json", "a point that was never placed, at a former place", markups(UNPLACED)),
    Situation(".mrk.json", "positions in micrometres", markups({"coordinateUnits": "um"})),
    Situation(".mrk.json", "a point list and a curve", markups({}, {"type": "Curve"})),
    Situation(".mrk.json", "a point list and a region of interest", markups({}, {"type": "ROI", "name": "box"})),
)


def write(situation: Situation, folder: Path) -> Path:
    path = folder / f"points{situation.format}"
    path.write_text(situation.text, encoding="utf-8")
    return path


def ours(path: Path) -> Outcome:
    """What this package makes of a file."""
    try:
        landmarks = read_landmarks(path)
    except InputError as error:
        return Outcome(None, str(error).replace(str(path), "the file"))
    points = [_point(landmark.name, landmark.status, landmark.position) for landmark in landmarks]
    return Outcome(points, "; ".join(note.text for note in landmarks.notes))


def slicers(path: Path) -> Outcome:
    """What 3D Slicer's storage node for point lists makes of it."""
    import slicer

    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLMarkupsFiducialNode(), getattr(slicer, STORAGE[path.suffix])()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    with suppress_native_output():
        if not storage.ReadData(node):
            return Outcome(None)
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        position = np.array(node.GetNthControlPointPosition(index)) * [-1, -1, 1]
        status = STATUSES[node.GetNthControlPointPositionStatus(index)]
        points.append(_point(node.GetNthControlPointLabel(index), status, position))
    return Outcome(points)


def _point(name: str, status: str, position: np.ndarray | None) -> tuple[str, str, tuple[float, ...]]:
    return name, status, tuple(round(float(value), 3) for value in position) if status == "defined" else ()


def difference(we: Outcome, slicer: Outcome) -> str:
    """What the table says of 3D Slicer."""
    if slicer.points is None:
        return "cannot be read"
    if we.points == slicer.points:
        return "the same points"
    if we.points and [point[1:] for point in we.points] == [point[1:] for point in slicer.points]:
        return "other names: " + ", ".join(f"`{name}`" for name, *_ in slicer.points)
    return "; ".join(
        f"{f'`{name}`' if name else 'no label'} {', '.join(f'{value:g}' for value in place)}"
        for name, _, place in slicer.points
    )


def rows() -> list[tuple[str, str, str, str]]:
    """Of the table: format, situation, this package, 3D Slicer."""
    table = []
    for situation in SITUATIONS:
        with TemporaryDirectory() as folder:
            path = write(situation, Path(folder))
            we, slicer = ours(path), slicers(path)
        verdict = "refused: " if we.points is None else "read, with the note: " if we.words else "read"
        table.append((f"`{situation.format}`", situation.what, verdict + we.words, difference(we, slicer)))
    return table


def table() -> str:
    """The rows as Markdown."""
    lines = [("format", "situation", "this package", "3D Slicer"), ("---",) * 4, *rows()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(table())
