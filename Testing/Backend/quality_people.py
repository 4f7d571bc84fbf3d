"""People made by formulas, with landmarks on both sides, and raters of them."""

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.quality import Annotation

NAMES = tuple(f"{side} {place}" for side in "LR" for place in ("front", "middle", "back", "top", "low", "tip"))
PEOPLE = 10


def person_points(generator, noise_mm=0.5):
    """Twelve points of a head of its own size, place and turn: `(12, 3)`, mm."""
    half = np.array([[20, -50, 0], [25, 0, 5], [22, 48, 3], [30, 10, 45], [15, 5, -40], [45, -20, 10]], float)
    mean = np.vstack([half, half * [-1, 1, 1]])
    turn = generator.normal(scale=0.08)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    size = generator.uniform(0.92, 1.08)
    return mean @ rotation * size + generator.normal(scale=30, size=3) + generator.normal(scale=noise_mm, size=(12, 3))


def landmark_set(points):
    return LandmarkSet(
        tuple(
            Landmark(name, tuple(point.tolist())) if np.isfinite(point).all() else Landmark(name, None, "missing")
            for name, point in zip(NAMES, points, strict=True)
        )
    )


def annotate(people, rater, generator=None):
    """One annotation a person; with a generator, half a mm off."""
    shifts = generator.normal(scale=0.5, size=people.shape) if generator else 0
    return [
        Annotation(f"scan{number}", rater, landmark_set(points), number)
        for number, points in enumerate(people + shifts)
    ]
