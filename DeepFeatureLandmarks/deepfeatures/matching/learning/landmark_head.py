"""The landmark head: filters for each landmark, learnt from a few people, that move it to where a person puts it.

Three steps, each of which trusts the people the more, the more of them there are:

1. The offset that all of them share: mostly how the template was labelled. It is their mean, shrunk.
2. A ridge regression from the jets around the found place to what is left.
3. Votes: every place near by tells from its jet where the landmark lies. These filters have many samples from each
   person, the places around the true one, and are what patch individual filter layers are (Eitel et al. 2019).

All of it is in the frame in which the target lies on the template, and sees the target's features alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepfeatures.matching.learning.local_jets import Jets, jets_near
from deepfeatures.matching.learning.reviewer_weights import scan_trust, scan_weights
from deepfeatures.matching.learning.taught_scan import AROUND_TRUE, TaughtScan

FEWEST_PEOPLE = 3  # with fewer, a landmark stays where the search alone has found it
# All fixed on hippocampi with template 001 and on brains with template 1000, one setting for both.
SHRINKAGE = 1.5  # people at whom half of the shared offset is taken
REGRESSION_RIDGE = 2.0  # in units of the mean squared length of centred jets
VOTE_RIDGE = 0.5  # in units of the mean variance of a number of the jets
VOTE_SHRINKAGE = 8.0  # people at whom half of what the votes say is taken
VOTE_RADIUS = 2.5  # voxels within which places vote
ROUNDS, STEP = 3, 0.6  # of voting, and how far each goes


@dataclass(frozen=True, eq=False)
class LandmarkHead:
    """What has been learnt. L landmarks, F numbers of a jet; lengths in voxels of the frame.

    Args:
        people: How many people teach each landmark, by their weights, `(L,)`; 0 where there are fewer than three.
        offset: That all share, `(L, 3)`.
        regression, regression_mean: `(L, F, 3)`, and the jets where it is zero, `(L, F)`.
        votes, votes_mean, votes_bias: `(L, F, 3)`, `(L, F)` and `(L, 3)`.
    """

    people: torch.Tensor
    offset: torch.Tensor
    regression: torch.Tensor
    regression_mean: torch.Tensor
    votes: torch.Tensor
    votes_mean: torch.Tensor
    votes_bias: torch.Tensor

    def corrected(self, jets: Jets, found: torch.Tensor) -> torch.Tensor:
        """Where landmarks lie that the search alone has found at `found`, `(L, 3)` both.

        Args:
            jets: See `observed_jets`.
        """
        near = jets_near(jets, found) - self.regression_mean
        start = found + self.offset + torch.einsum("lf,lfd->ld", near, self.regression)
        told = torch.einsum("lpf,lfd->lpd", jets.values - self.votes_mean[:, None], self.votes)
        told = told + self.votes_bias[:, None] + jets.places
        place = start
        for _ in range(ROUNDS):
            voting = ((jets.places - place[:, None]).norm(dim=2) <= VOTE_RADIUS).to(told.dtype)[..., None]
            elected = (voting * told).sum(1) / voting.sum(1).clamp(min=1)
            elected = torch.where(voting.sum(1) > 0, elected, start)
            place = start + STEP * (elected - start)
        trust = (self.people / (self.people + VOTE_SHRINKAGE))[:, None]
        return torch.where(self.people[:, None] > 0, start + trust * (elected - start), found)

    def take(self, landmarks: Sequence[int]) -> LandmarkHead:
        """For some of the landmarks, by their numbers; -1 is one that nobody has taught."""
        index = torch.tensor(landmarks, dtype=torch.long, device=self.people.device)
        known = {name: getattr(self, name)[index.clamp(min=0)] for name in TENSORS}
        return LandmarkHead(**known | {"people": known["people"] * (index >= 0)})

    def on(self, device: torch.device) -> LandmarkHead:
        """The same on another device."""
        return LandmarkHead(**{name: getattr(self, name).to(device) for name in TENSORS})


TENSORS = ("people", "offset", "regression", "regression_mean", "votes", "votes_mean", "votes_bias")


@dataclass(frozen=True, eq=False)
class Lessons:
    """What fitting needs of scans, computed once for all fits that leave somebody out. S scans.

    Args:
        scans: In the order of what follows.
        taught: Which landmarks each teaches, `(S, L)`.
        offsets: True less found places, `(S, L, 3)`; 0 where nothing is taught.
        near: Jets around the found places, `(S, L, F)`.
        moments: For each scan of its samples for votes `(x, y)`: sums of 1, x, y, xx and xy.
    """

    scans: tuple[TaughtScan, ...]
    taught: torch.Tensor
    offsets: torch.Tensor
    near: torch.Tensor
    moments: tuple[torch.Tensor, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Everyone, once, in order."""
        return tuple(sorted({scan.person for scan in self.scans}))

    @property
    def trust(self) -> torch.Tensor:
        """Which share of its weight each scan keeps beside the others, `(S,)`."""
        corrected = torch.stack([scan.corrected for scan in self.scans])
        return scan_trust(self.offsets, self.taught, corrected, [scan.person for scan in self.scans])


def lessons(scans: Sequence[TaughtScan]) -> Lessons:
    """Of one scan or more."""
    taught = torch.stack([scan.taught for scan in scans])
    offsets = torch.stack([scan.true - scan.found for scan in scans]).nan_to_num(0.0)
    near = torch.stack([scan.near for scan in scans])
    moments = zip(*map(_moments, scans), strict=True)
    return Lessons(tuple(scans), taught, offsets.double(), near.double(), tuple(map(torch.stack, moments)))


def fit_head(known: Lessons, without: str | None = None) -> LandmarkHead:
    """The head of these scans, or of all but those of one person.

    Args:
        known: See `lessons`.
        without: The person.
    """
    chosen = [index for index, scan in enumerate(known.scans) if scan.person != without]
    people = [known.scans[index].person for index in chosen]
    taught, offsets, near = known.taught[chosen], known.offsets[chosen], known.near[chosen]
    corrected = torch.stack([known.scans[index].corrected for index in chosen])
    weights = scan_weights(offsets, taught, corrected, people)
    enough = _count_people(taught, people) >= FEWEST_PEOPLE
    total = weights.sum(0)
    offset = torch.einsum("sl,sld->ld", weights, offsets) / (total + SHRINKAGE)[:, None]
    regression, regression_mean = _regression(near, offsets, weights)
    votes = _votes([moment[chosen] for moment in known.moments], weights)
    fitted = (total * enough, offset, regression, regression_mean, *votes)
    return LandmarkHead(*(tensor.float() for tensor in fitted))


def _count_people(taught: torch.Tensor, people: Sequence[str]) -> torch.Tensor:
    """How many people teach each landmark, `(L,)`."""
    rows = [taught[[one == person for one in people]].any(0) for person in sorted(set(people))]
    return torch.stack(rows).sum(0)


def _regression(near: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters `(L, F, 3)` from jets to what the mean offset leaves, and the mean jets, `(L, F)`.

    There are far fewer scans than numbers, so that it is solved for the scans (a dual ridge regression).
    """
    share = (weights / weights.sum(0).clamp(min=1e-9)).T[..., None]  # (L, S, 1)
    jets, left = near.transpose(0, 1), offsets.transpose(0, 1)
    mean = (share * jets).sum(1)
    root = weights.T.sqrt()[..., None]
    rows, values = root * (jets - mean[:, None]), root * (left - (share * left).sum(1, keepdim=True))
    products = rows @ rows.transpose(1, 2)
    typical = products.diagonal(dim1=1, dim2=2).sum(1) / weights.sum(0).clamp(min=1e-9)
    unit = torch.eye(products.shape[1], dtype=products.dtype, device=products.device)
    ridge = (REGRESSION_RIDGE * typical).clamp(min=1e-9)[:, None, None]
    return rows.transpose(1, 2) @ torch.linalg.solve(products + ridge * unit, values), mean


def _votes(moments: Sequence[torch.Tensor], weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Filters `(L, F, 3)` from jets to the way to the landmark, the mean jets `(L, F)`, and the mean way, `(L, 3)`."""
    count, x, y, xx, xy = (torch.einsum("sl,sl...->l...", weights, moment) for moment in moments)
    count = count.clamp(min=1e-9)
    mean, bias = x / count[:, None], y / count[:, None]
    covariance = xx / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    along = xy / count[:, None, None] - mean[:, :, None] * bias[:, None, :]
    ridge = VOTE_RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-9)
    unit = torch.eye(covariance.shape[1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.solve(covariance + ridge[:, None, None] * unit, along), mean, bias


def _moments(scan: TaughtScan) -> tuple[torch.Tensor, ...]:
    """Of the jets around the true places and the ways from there to these; 0 where nothing is taught."""
    jets = scan.around_true
    way = scan.true[:, None] - jets.places
    near = ((way.norm(dim=2) <= AROUND_TRUE) & scan.taught[:, None]).double()
    x, y = jets.values.double(), way.nan_to_num(0.0).double()
    weighted = x * near[..., None]
    return (
        near.sum(1),
        weighted.sum(1),
        (y * near[..., None]).sum(1),
        weighted.transpose(1, 2) @ x,
        weighted.transpose(1, 2) @ y,
    )
