"""How landmarks are searched: names, choices, help and defaults, once for every face. Needs no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from deepfeatures.errors import InputError
from deepfeatures.features import SMALLEST_PATCH

SEARCHES = ("guided", "dense", "patch")
INITIALIZATIONS = ("auto", "centres", "world", "any")
INTENSITIES = ("auto", "percentile", "zscore", "hu", "histogram", "rank")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
# Network, layer and patch size that did best on the development data.
BEST_GUIDED = ("mind", "ssc_r1_d2", 13)
BEST_GREEDY = ("mind", "ssc_r2_d2", 16)  # of Testing/Benchmarks/sweep.py, on a fifth of the people


def _setting(default: Any, label: str, help_text: str, choices: tuple[str, ...] = ()) -> Any:
    """A field with what people read of it."""
    return field(default=default, metadata={"label": label, "help": help_text, "choices": choices})


@dataclass(frozen=True)
class MatchSettings:
    """How landmarks are searched. `None` stands for the best measured on the development data.

    Args:
        network: A name of the catalog.
        layer: One of its layers, or an alias; `None` for the network's own default.
        patch_size: Edge length in voxels of the cube around a landmark that is compared; guided, the diameter of
            the ball at the finest level.
        search: `"guided"` goes from coarse to fine with keypoints beside the landmarks; the others are the paper's
            greedy search: `"dense"` encodes the target once, `"patch"` encodes a patch at every candidate. `None` for
            guided, or dense where network, layer, patch size or search radius is given.
        search_radius_mm: Greedy only: distance in mm from the start within which candidates lie, `None` for the whole
            target. The start is where the landmark would be if the two volumes had their centres in one place.
        initialization: Where a guided search starts. `"centres"`: equal directions in the world, centres in one place;
            `"world"`: equal places in the world; `"any"`: the rotation that fits best. `"auto"` takes centres, or the
            world where that is more similar; where that is not right any translation, then any rotation.
        device: Where to compute; `"cuda:1"` names one of several GPUs.
        precision: In which the network computes; distances are always summed in float32.
        seed: Draws the kernels of random networks.
        tolerance_mm: Distance from the true place that is near enough; the scores say how likely it is kept. `None` for
            2 % of the template's size.
        intensity: How voxels of template and target are scaled, see `deepfeatures.data.intensity`; a patch search
            scales each patch by its own extremes, as the paper does.
        calibration: JSON file that `deepfeatures calibrate` has written: expected errors, probabilities and radii are
            those of its scans. `None` for what comes with the package.
        protocol: File of a landmark protocol, `.dflp`: landmarks are placed as the scans that it has learnt teach. It
            also says how far off they may be.

    Raises:
        InputError: A value does not exist, or two do not go together.
    """

    network: str | None = _setting(
        None, "Network", "A name that `deepfeatures networks` lists; by default the best measured."
    )
    layer: str | None = _setting(None, "Layer", "A layer that `deepfeatures networks --layers NETWORK` lists.")
    patch_size: int | None = _setting(
        None, "Patch size", f"Edge of the compared cube in voxels, {SMALLEST_PATCH} or more."
    )
    search: str | None = _setting(
        None,
        "Search",
        "From coarse to fine (guided), or the paper's greedy search: every voxel in one pass, or patch by patch.",
        SEARCHES,
    )
    search_radius_mm: float | None = _setting(
        None,
        "Search radius (mm)",
        "Greedy search only: look within this many mm of where the landmark lies with the volumes' centres aligned.",
    )
    initialization: str = _setting(
        "auto",
        "Initialization",
        "Where the guided search starts: with the volumes' centres aligned, at equal world coordinates, or at any"
        " rotation; auto tries them in this order.",
        INITIALIZATIONS,
    )
    device: str = _setting("auto", "Device", "Where to compute.", DEVICES)
    precision: str = _setting("auto", "Precision", "Numbers to compute in.", PRECISIONS)
    seed: int = _setting(0, "Seed", "Draws the kernels of random networks.")
    tolerance_mm: float | None = _setting(
        None,
        "Tolerance (mm)",
        "Distance from the true place that is near enough: its probability is stated; by default 2 % of the template's"
        " size.",
    )
    intensity: str = _setting(
        "auto",
        "Intensity",
        "How voxels of template and target are scaled; auto: Hounsfield units where both are CT, else percentiles.",
        INTENSITIES,
    )
    calibration: str | None = _setting(
        None,
        "Calibration",
        "JSON file of deepfeatures calibrate: how far off landmarks may be in scans like those; guided search only.",
    )
    protocol: str | None = _setting(
        None,
        "Protocol",
        "File of a landmark protocol (.dflp): landmarks are placed as the scans that it has learnt teach.",
    )

    def __post_init__(self):
        _check_values(self)
        _check_combinations(self)

    @property
    def is_guided(self) -> bool:
        """Whether the search is the guided one, if need be by the choice that is made where none is given."""
        if self.search is not None:
            return self.search == "guided"
        return all(given is None for given in (self.network, self.layer, self.patch_size, self.search_radius_mm))

    def chosen(self) -> MatchSettings:
        """The same with search, network and patch size chosen where they were `None`.

        The layer stays `None` where a network is named without one.
        """
        network, layer, patch_size = BEST_GUIDED if self.is_guided else BEST_GREEDY
        if self.network is not None:
            network, layer = self.network, None
        return replace(
            self,
            search=self.search or ("guided" if self.is_guided else "dense"),
            network=network,
            layer=self.layer or layer,
            patch_size=patch_size if self.patch_size is None else self.patch_size,
        )


def with_features(settings: MatchSettings, features: str) -> MatchSettings:
    """The settings with the features of a protocol, `"network/layer/patch size"`, searched guided.

    Raises:
        InputError: Others are wanted.
    """
    network, layer, patch_size = features.rsplit("/", 2)
    wanted = {"network": network, "layer": layer, "patch_size": int(patch_size)}
    others = [name for name, value in wanted.items() if getattr(settings, name) not in (None, value)]
    if others:
        raise InputError(f"The protocol was learnt with the features {features}; leave out {' and '.join(others)}.")
    return replace(settings, search="guided", **wanted)


def setting(name: str) -> dict[str, Any]:
    """What people read of a setting: `label`, `help` and `choices`, empty where any value of its kind may be given."""
    return dict(next(one.metadata for one in fields(MatchSettings) if one.name == name))


def _check_values(settings: MatchSettings) -> None:
    size, radius_mm = settings.patch_size, settings.search_radius_mm
    if size is not None and (not isinstance(size, int) or size < SMALLEST_PATCH):
        raise InputError(f"A patch size of {size} cannot be used; give {SMALLEST_PATCH} or more whole voxels.")
    if radius_mm is not None and not 0 < radius_mm < math.inf:
        raise InputError(f"A search radius of {radius_mm} mm cannot be used; give more than 0, or none.")
    if settings.tolerance_mm is not None and not 0 < settings.tolerance_mm < math.inf:
        raise InputError(f"A tolerance of {settings.tolerance_mm} mm cannot be used; give more than 0, or none.")
    for one in fields(settings):
        choices, value = one.metadata["choices"], getattr(settings, one.name)
        known = value is None or value in choices or (one.name == "device" and value.split(":")[0] in choices)
        if choices and not known:
            label = one.metadata["label"].lower()
            raise InputError(f"There is no {label} {value!r}; choose one of {', '.join(choices)}.")


def _check_combinations(settings: MatchSettings) -> None:
    if not settings.is_guided and settings.initialization != "auto":
        raise InputError("Only a guided search has an initialization; leave it out, or search guided.")
    if settings.is_guided and settings.search_radius_mm is not None:
        raise InputError("A guided search takes no search radius; leave the radius out, or search dense.")
    if settings.calibration is not None and not settings.is_guided:
        raise InputError("Only a guided search is calibrated; leave out the calibration, or search guided.")
    if settings.protocol is not None and not settings.is_guided:
        raise InputError("Only a guided search learns; leave out the protocol, or search guided.")
    if settings.protocol is not None and settings.calibration is not None:
        raise InputError("A protocol has a calibration of its own; leave out the protocol or the calibration.")
    if settings.search == "patch" and settings.intensity != "auto":
        raise InputError("A patch search scales each patch by itself; leave out the intensity, or search dense.")
