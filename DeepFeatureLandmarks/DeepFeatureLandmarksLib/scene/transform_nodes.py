"""Transforms as nodes of the scene, beneath the target; template and target are kept as references of the node.

In a file a transform maps template points to target points. Slicer calls that "from parent": a node under the transform
is moved the other way, so that things of the target under it lie on the template.
"""

from __future__ import annotations

import json
from pathlib import Path

import slicer

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.transform_summary import TransformSummary
from deepfeatures.errors import InputError

TEMPLATE, TARGET, WARPED, JACOBIAN = (
    f"DeepFeatureLandmarks.{name}" for name in ("transformTemplate", "transformTarget", "warpedTarget", "jacobianMap")
)
SUMMARY = "DeepFeatureLandmarks.transformSummary"
USE = (
    "It takes points of the template {template} to the target {target} (from parent, as ITK resamples). Put {target} or"
    " what belongs to it under this transform to see it on {template}. Its inverse carries things of {template} over."
)


def transformNode(path: Path, summary: TransformSummary, template, target):
    """The transform of a file as a node; one of the same kind, template and target is filled again.

    Args:
        path: What the worker has written.
        summary: What is known of it.
        template: vtkMRMLScalarVolumeNode, as is the target.
        target: See `template`.

    Raises:
        InputError: Slicer cannot read the file.
    """
    scene = target.GetScene()
    node = transformOfKind(summary.kind, template, target) or scene.AddNewNodeByClass("vtkMRMLTransformNode")
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise InputError(f"Slicer cannot read the transform that was written to {path}; choose another kind.")
    names = {"template": template.GetName(), "target": target.GetName()}
    node.SetName("{template} to {target} ({kind})".format(**names, kind=summary.kind))
    node.SetDescription(USE.format(**names))
    node.SetAttribute(SUMMARY, json.dumps(summary.asJson))
    node.SetNodeReferenceID(TEMPLATE, template.GetID())
    node.SetNodeReferenceID(TARGET, target.GetID())
    nodes.putBeneath(node, target)
    return node


def transformOfKind(kind: str, template, target):
    """The transform node of a kind from a template to a target; `None` where there is none."""
    scene, name = target.GetScene(), "vtkMRMLTransformNode"
    every = (scene.GetNthNodeByClass(n, name) for n in range(scene.GetNumberOfNodesByClass(name)))
    between = (one for one in every if pairOf(one) == (template, target))
    return next((one for one in between if (known := summaryOf(one)) is not None and known.kind == kind), None)


def summaryOf(node) -> TransformSummary | None:
    """What is known of a transform node; `None` of one that this version has not made."""
    try:
        return TransformSummary.of(json.loads(node.GetAttribute(SUMMARY) or ""))
    except (ValueError, KeyError, TypeError):
        return None


def pairOf(node) -> tuple:
    """Template and target of a transform node; `None` for one that has left the scene."""
    return node.GetNodeReference(TEMPLATE), node.GetNodeReference(TARGET)


def requirePair(node) -> tuple:
    """Template and target of a transform node.

    Raises:
        InputError: One of them was removed.
    """
    template, target = pairOf(node)
    if template is None or target is None:
        gone = "template" if template is None else "target"
        raise InputError(f"The {gone} of {node.GetName()} was removed; load it and compute the transform again.")
    return template, target


def writeFile(node, path: Path) -> None:
    """Write a transform node as it is now, where the worker reads it.

    Raises:
        InputError: It cannot be written.
    """
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise InputError(f"{node.GetName()} cannot be written to {path}; compute the transform again.")
