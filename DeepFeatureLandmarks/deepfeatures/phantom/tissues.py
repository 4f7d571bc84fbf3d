"""What tissues look like in MR and CT."""

from __future__ import annotations

import numpy as np

CONTRASTS = ("t1", "t2", "ct")

# T1- and T2-weighted MR from 0 to about 1, CT in HU.
TISSUES: dict[str, tuple[float, float, float]] = {
    "air": (0.0, 0.0, -1000),
    "skin": (0.5, 0.35, 40),
    "fat": (0.95, 0.75, -100),
    "muscle": (0.36, 0.2, 55),
    "ligament": (0.15, 0.1, 90),
    "cartilage": (0.42, 0.5, 110),
    "cortex": (0.07, 0.05, 800),
    "marrow": (0.62, 0.42, 200),
    "disc": (0.3, 0.8, 85),
    "dry disc": (0.26, 0.28, 95),
    "annulus": (0.2, 0.14, 105),
    "fluid": (0.16, 1.0, 8),
    "nerve": (0.48, 0.4, 35),
    "blood": (0.12, 0.08, 150),
    "heart": (0.4, 0.34, 110),
    "lung": (0.06, 0.05, -850),
    "liver": (0.52, 0.28, 100),
    "spleen": (0.36, 0.5, 110),
    "kidney": (0.42, 0.62, 150),
    "medulla": (0.3, 0.72, 90),
    "bowel wall": (0.4, 0.32, 60),
    "bowel content": (0.5, 0.6, 20),
    "gas": (0.01, 0.01, -950),
    "enamel": (0.02, 0.02, 2400),
    "dentine": (0.06, 0.05, 1500),
    "pulp": (0.4, 0.6, 60),
}


def signals(contrast: str, random: np.random.Generator) -> dict[str, float]:
    """Signal of each tissue in one scan: MR from 0 to about 1, CT in thousands of HU above air.

    Scans differ in it by a few percent of each tissue, as sequences, fields and contrast agents do.
    """
    column = CONTRASTS.index(contrast)
    spread = 0.02 if contrast == "ct" else 0.07
    factors = np.exp(spread * random.standard_normal(len(TISSUES)))
    values = np.array([row[column] for row in TISSUES.values()], float)
    values = values / 1000 + 1 if contrast == "ct" else values
    return dict(zip(TISSUES, (values * factors).tolist(), strict=True))
