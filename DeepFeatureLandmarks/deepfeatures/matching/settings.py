"""How landmarks are searched: what may be chosen, what is chosen where nobody says, and what cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepfeatures.data.intensity import check_policy
from deepfeatures.errors import InputError
from deepfeatures.features.patch import SMALLEST_PATCH
from deepfeatures.matching.pose.estimation import WAYS

GUIDED = ("mind", "ssc_r1_d2", 13)  # network, layer, patch size that did best on the development data
GREEDY = ("mind", "ssc_r2_d2", 16)  # the best greedy setting of Testing/Benchmarks/sweep.py, on a fifth of the people
SEARCHES = ("guided", "dense", "patch")


@dataclass(frozen=True)
class MatchSettings:
    """How landmarks are searched, everything chosen.

    Args:
        network: A name of the catalog.
        layer: One of its layers.
        patch_size: Edge length in voxels of the cube around a landmark that is compared; guided, the diameter of
            the ball at the finest level.
        search: `"guided"` goes from coarse to fine with keypoints beside the landmarks; the others are the paper's
            greedy search: `"dense"` encodes the target once, `"patch"` encodes a patch at every candidate.
        search_radius_mm: Distance in mm from the start within which candidates lie, `None` for the whole target. The
            start is where the landmark would be if the two volumes had their centres in one place.
        pose: Where a guided search starts. `"centres"`: equal directions in the world, centres in one place; `"world"`:
            equal places in the world; `"any"`: whatever rotation fits best; `"auto"`: centres, or the world where that
            is more alike; where that is not right equal directions wherever they fit best; and where that is not right
            any.
        device: Where to compute.
        precision: `"float32"` or `"bfloat16"`, in which the network computes; distances are always added up in float32.
        seed: Draws the kernels of random networks.
        intensity: A policy of `deepfeatures.data.intensity.POLICIES` for template and target; a patch search has none,
            since it scales each patch by its own extremes as the paper does.
    """

    network: str
    layer: str
    patch_size: int
    search: str
    search_radius_mm: float | None
    pose: str
    device: str
    precision: str
    seed: int
    intensity: str


def chosen_features(
    network: str | None, layer: str | None, patch_size: int | None, search: str | None, search_radius_mm: float | None
) -> tuple[str, str | None, int, str]:
    """Network, layer, patch size and search, each the best measured where it is `None`.

    The search is guided, or dense where anything is given that belongs to the paper's greedy search. The layer stays
    `None` where a network is named without one.
    """
    if search is None:
        greedy = any(given is not None for given in (network, layer, patch_size, search_radius_mm))
        search = "dense" if greedy else "guided"
    best_network, best_layer, best_size = GUIDED if search == "guided" else GREEDY
    if network is None:
        network, layer = best_network, layer or best_layer
    return network, layer, best_size if patch_size is None else patch_size, search


def check_choices(patch_size: int, search: str, search_radius_mm: float | None, pose: str, intensity: str) -> None:
    """Whether they go together.

    Raises:
        InputError: They do not, or one of them does not exist.
    """
    if isinstance(patch_size, bool) or not isinstance(patch_size, int) or patch_size < SMALLEST_PATCH:
        raise InputError(f"A patch size of {patch_size} cannot be used; give {SMALLEST_PATCH} or more whole voxels.")
    if search not in SEARCHES:
        raise InputError(f"There is no search {search!r}; choose one of {', '.join(SEARCHES)}.")
    if search_radius_mm is not None and not 0 < search_radius_mm < math.inf:
        raise InputError(f"A search radius of {search_radius_mm} mm cannot be used; give more than 0, or none.")
    if pose not in WAYS:
        raise InputError(f"There is no pose {pose!r}; choose one of {', '.join(WAYS)}.")
    if search != "guided" and pose != "auto":
        raise InputError("Only a guided search finds a pose; leave out the pose, or search guided.")
    if search == "guided" and search_radius_mm is not None:
        raise InputError("A guided search finds its own way; leave out the search radius, or search dense.")
    check_policy(intensity)
    if search == "patch" and intensity != "auto":
        raise InputError("A patch search scales each patch by itself; leave out the intensity, or search dense.")
