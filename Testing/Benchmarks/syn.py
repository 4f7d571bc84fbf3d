"""What a user would pick instead: registration by antspyx with its defaults."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from cases import Case


def register(template: Case, target: Case) -> np.ndarray:
    """LPS mm of the template's landmarks carried into the target by SyN, `(N, 3)`."""
    import ants
    import pandas as pd

    from deepfeatures.io.volume_files import write_volume

    with tempfile.TemporaryDirectory() as folder:
        images = []
        for name, case in (("template", template), ("target", target)):
            write_volume(case.volume, Path(folder) / f"{name}.nii.gz")
            images.append(ants.image_read(str(Path(folder) / f"{name}.nii.gz")))
        found = ants.registration(*images, "SyN")
        points = pd.DataFrame(template.landmarks.positions, columns=["x", "y", "z"])
        return ants.apply_transforms_to_points(3, points, found["fwdtransforms"])[["x", "y", "z"]].to_numpy()
