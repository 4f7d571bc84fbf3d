"""What the tests of the Logic read from a scene."""

from __future__ import annotations

from zipfile import ZipFile

import numpy as np

MISSING = 3  # status of a control point


def world(node, name):
    return np.array(node.GetNthControlPointPositionWorld(index_of(node, name)))


def index_of(node, name):
    return next(i for i in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointLabel(i) == name)


def statuses(logic, node):
    return {row.name: row.status for row in logic.reviewRows(node)}


def shifted(x=0.0, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def through_mrml(scene, new_scene, folder):
    """The scene as it comes back from a scene file and the files of its nodes."""
    for number in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(number)
        if node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene():
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            if storage is not None:
                storage.SetFileName(str(folder / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"))
                assert storage.WriteData(node)
    scene.SetURL(str(folder / "scene.mrml"))
    scene.SetRootDirectory(str(folder))
    assert scene.Commit(scene.GetURL())
    loaded = new_scene()
    loaded.SetURL(scene.GetURL())
    assert loaded.Connect()
    return loaded


def through_mrb(scene, new_scene, folder):
    """The scene as it comes back from a bundle of all its files."""
    assert scene.WriteToMRB(str(folder / "scene.mrb"), None)
    with ZipFile(folder / "scene.mrb") as bundle:  # Slicer's own reader of bundles needs its application
        bundle.extractall(folder / "unpacked")
    loaded = new_scene()
    loaded.SetURL(str(next((folder / "unpacked").rglob("*.mrml"))))
    assert loaded.Connect()
    return loaded
