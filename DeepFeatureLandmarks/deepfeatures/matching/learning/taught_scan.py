"""What one scan teaches: features around its landmarks, and where a person says they lie. No image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.learning.local_jets import Jets, LandmarkFrame, jets_around, jets_near

AROUND_TRUE, AROUND_FOUND = 4.0, 5.0  # voxels within which a scan's features are kept
TENSORS = (
    *("true", "found", "corrected", "voxel_to_mm", "evidence", "spacing_mm"),
    *("true_jets", "true_scales", "true_places", "found_jets", "found_scales", "found_places"),
)


@dataclass(frozen=True, eq=False)
class TaughtScan:
    """A scan whose landmarks a person has accepted or corrected.

    Lengths are in voxels of the frame, the target as it lies on the template, from the landmark in the template, unless
    they say mm. L landmarks; P places around each.

    Args:
        name: Of the scan.
        person: Whose scan it is: scans of one person are left out together.
        key: SHA-256 of voxels and geometry.
        learnt: When, ISO 8601.
        true: Where the person says that they lie, `(L, 3)`; NaN where nothing was said.
        found: Where the search alone has found them, `(L, 3)`.
        corrected: Which of them the person has moved or placed, `(L,)`; the others were accepted as they were.
        voxel_to_mm: Steps in the frame to mm of the scan, `(3, 3)`.
        evidence: What errors are predicted from, `(L, E)`.
        spacing_mm: Of the finest level in the scan, the unit of the evidence, `(1,)`.
        true_jets, found_jets: Jets around the true and the found places, int8, `(L, P, F)`.
        true_scales, found_scales: By which these are multiplied, `(L,)`.
        true_places, found_places: Where they are, `(L, P, 3)`.
    """

    name: str
    person: str
    key: str
    learnt: str
    true: torch.Tensor
    found: torch.Tensor
    corrected: torch.Tensor
    voxel_to_mm: torch.Tensor
    evidence: torch.Tensor
    spacing_mm: torch.Tensor
    true_jets: torch.Tensor
    true_scales: torch.Tensor
    true_places: torch.Tensor
    found_jets: torch.Tensor
    found_scales: torch.Tensor
    found_places: torch.Tensor

    @property
    def taught(self) -> torch.Tensor:
        """Which landmarks it teaches, `(L,)`."""
        return ~self.true.isnan().any(1)

    @property
    def around_true(self) -> Jets:
        return Jets(_restored(self.true_jets, self.true_scales), self.true_places)

    @property
    def around_found(self) -> Jets:
        return Jets(_restored(self.found_jets, self.found_scales), self.found_places)

    @property
    def near(self) -> torch.Tensor:
        """The jets around the found places, averaged, `(L, F)`."""
        return jets_near(self.around_found, self.found)

    def errors_mm(self, places: torch.Tensor) -> torch.Tensor:
        """Distances of places `(L, 3)` from the true ones, `(L,)`; NaN where nothing is taught."""
        return ((places - self.true) @ self.voxel_to_mm.T).norm(dim=1)


def observed_jets(frame: LandmarkFrame) -> Jets:
    """What a target shows around where its landmarks were found, as `TaughtScan.around_found` has it."""
    jets = jets_around(frame, frame.found, AROUND_FOUND)
    return Jets(_restored(*_compact(jets.values)), jets.places)


def kept_tensors(frame: LandmarkFrame, true: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is kept of a frame, for landmarks that truly lie at `true` `(L, 3)`; NaN rows where that is not known."""
    known = torch.where(true.isnan().any(1, keepdim=True), frame.found, true)
    around_true, around_found = jets_around(frame, known, AROUND_TRUE), jets_around(frame, frame.found, AROUND_FOUND)
    true_jets, true_scales = _compact(around_true.values)
    found_jets, found_scales = _compact(around_found.values)
    return {
        "true": true,
        "found": frame.found,
        "true_jets": true_jets,
        "true_scales": true_scales,
        "true_places": around_true.places,
        "found_jets": found_jets,
        "found_scales": found_scales,
        "found_places": around_found.places,
    }


def _compact(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values `(L, P, F)` as int8, and what one step is, `(L,)`."""
    scales = values.abs().amax((1, 2)).clamp(min=1e-9) / 127
    return (values / scales[:, None, None]).round().to(torch.int8), scales


def _restored(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return values.float() * scales[:, None, None]
