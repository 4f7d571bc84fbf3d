"""What is asked of the worker about transforms; a file holds one, from template to target points, LPS mm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.protocol import VolumeArray, landmarks_to_json


class TransformRequests(ABC):
    """The requests on transforms. Each returns its number; `poll` and `wait` of the client tell what becomes of it."""

    @abstractmethod
    def _request(self, kind: str, message: dict[str, Any], volumes: dict[str, VolumeArray]) -> int: ...

    def transform(
        self,
        template: VolumeArray,
        landmarks: LandmarkSet,
        target: VolumeArray,
        points: LandmarkSet,
        settings: MatchSettings,
        *,
        kind: str,
        path: Path,
    ) -> int:
        """Find the transform from template to target, and write it to a file.

        Args:
            template: In which the landmarks lie.
            landmarks: See `template`.
            target: In which the points lie.
            points: Paired with the landmarks by name.
            settings: Those of `match`; of the kind `"field"`, which is what the search itself has found, they count.
            kind: `"rigid"`, `"similarity"`, `"affine"`, `"tps"`, `"bspline"`, `"cpab"` or `"field"`.
            path: To write; its suffix says in which format.
        """
        message = {
            "settings": asdict(settings),
            "landmarks": landmarks_to_json(landmarks),
            "points": landmarks_to_json(points),
            "kind": kind,
            "path": str(path),
        }
        return self._request("transform", message, {"template": template, "target": target})

    def write_transform(self, transform: Path, template: VolumeArray, path: Path, description: str) -> int:
        """Write the transform of a file to another one, in the format of its suffix.

        Args:
            transform: File.
            template: A displacement field covers it.
            path: To write.
            description: What the file says of its direction, as the result of `transform` has it.
        """
        message = {"transform": str(transform), "path": str(path), "description": description}
        return self._request("write_transform", message, {"template": template})

    def warp(
        self, transform: Path, volume: VolumeArray, like: VolumeArray, *, inverse: bool = False, labels: bool = False
    ) -> int:
        """Carry a volume of the template over to the target's grid.

        Args:
            transform: File.
            volume: Of the template; with `inverse`, of the target.
            like: Has the grid of the result: the target; with `inverse`, the template.
            inverse: From target to template.
            labels: Whether the voxels are labels, which must not be mixed.
        """
        message = {"transform": str(transform), "inverse": inverse, "labels": labels}
        return self._request("warp", message, {"volume": volume, "like": like})

    def warp_file(self, transform: Path, path: Path, output: Path, like: VolumeArray, *, inverse: bool = False) -> int:
        """Carry what a file of the template holds over to the target: a volume, labels, points or a model.

        Args:
            transform: File.
            path: To read.
            output: To write.
            like: In whose space the output lies: the target; with `inverse`, the template.
            inverse: From target to template.
        """
        message = {"transform": str(transform), "path": str(path), "output": str(output), "inverse": inverse}
        return self._request("warp_file", message, {"like": like})

    def jacobian(self, transform: Path, template: VolumeArray) -> int:
        """By how much the transform of a file lets each voxel of the template grow."""
        return self._request("jacobian", {"transform": str(transform)}, {"template": template})
