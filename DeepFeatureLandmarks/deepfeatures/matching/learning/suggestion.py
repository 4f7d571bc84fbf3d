"""Which scans a person should review next: those whose review teaches most about all the others.

The scans are compared by the jets around their landmarks. They are taken one after another, so that those taken look,
on average, like all that there are (kernel herding, Chen et al. 2010). A head that learns from them knows best what the
others show. Scans in which the landmarks are in doubt count more. The most doubtful scans alone teach less than scans
drawn at random: they are odd. `Testing/Benchmarks/suggestions.py` compares these orders.
"""

from __future__ import annotations

import torch


def order_of_review(jets: torch.Tensor, doubts: torch.Tensor, taught: torch.Tensor, count: int) -> list[int]:
    """Numbers of the scans to review, the most telling first.

    Args:
        jets: Around the found places of each scan, `(T, L, F)`.
        doubts: Expected errors, mm, one a scan, `(T,)`.
        taught: Jets of scans that have taught already, `(S, L, F)`.
        count: How many to name.
    """
    scans = len(jets)
    likeness = _likeness(torch.cat([jets, taught]))
    weights = doubts.to(likeness.dtype).clamp(min=1e-9)
    wanted = likeness[:, :scans] @ weights / weights.sum()
    known = list(range(scans, scans + len(taught)))
    for _ in range(min(count, scans)):
        missing = wanted - likeness[:, known].sum(1) / (len(known) + 1)
        missing[known] = -torch.inf
        known.append(int(missing[:scans].argmax()))
    return known[len(taught) :]


def _likeness(jets: torch.Tensor) -> torch.Tensor:
    """How alike scans look, `(T, T)`: 1 the same, down to 0."""
    centred = (jets - jets.mean(0)).double()
    products = torch.einsum("ilf,jlf->lij", centred, centred)
    typical = products.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    products = (products / typical[:, None, None]).mean(0)
    lengths = products.diagonal()
    squares = (lengths[:, None] + lengths - 2 * products).clamp(min=0)
    return torch.exp(-squares / squares.median().clamp(min=1e-12))
