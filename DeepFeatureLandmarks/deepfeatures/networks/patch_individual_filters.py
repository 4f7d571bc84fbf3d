"""Patch individual filters: convolutions whose filters are shared within a patch of the maps, not between patches.

Where volumes are spatially normalised, a place shows the same anatomy in everyone. Filters may then be learnt for each
place (Eitel, Albrecht, Paul and Ritter, Harnessing spatial MRI normalization: patch individual filter layers for CNNs,
2019). Local convolution is the special case of patches as large as the kernel, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.errors import InputError

Size = tuple[int, int, int]  # depth, height, width


@dataclass(frozen=True)
class PatchGrid:
    """How maps of one size are cut into patches. Zeros fill up the patches that reach beyond the maps.

    Args:
        size: Of the maps.
        patch: Of each patch.
        shift: How far the first patch begins before the maps.
    """

    size: Size
    patch: Size
    shift: Size = (0, 0, 0)

    @property
    def counts(self) -> Size:
        """Patches along each axis."""
        depth, height, width = (
            -(-(size + shift) // patch) for size, patch, shift in zip(self.size, self.patch, self.shift, strict=True)
        )
        return depth, height, width

    @property
    def count(self) -> int:
        """All patches."""
        return prod(self.counts)

    def split(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps `(N, C, *size)` to patches one after the other in the channels, `(N, count * C, *patch)`."""
        padding = []
        for size, patch, shift, count in reversed(
            list(zip(self.size, self.patch, self.shift, self.counts, strict=True))
        ):
            padding += [shift, count * patch - shift - size]
        batch, channels = maps.shape[:2]
        (a, b, c), (d, h, w) = self.counts, self.patch
        cells = F.pad(maps, padding).reshape(batch, channels, a, d, b, h, c, w)
        return cells.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, self.count * channels, d, h, w)

    def reassemble(self, patches: torch.Tensor) -> torch.Tensor:
        """The inverse of `split`; entries that are centred beyond the maps are cropped.

        Args:
            patches: `(N, count * C, d, h, w)`. An unpadded convolution may have made them smaller than they were.

        Returns:
            `(N, C, D, H, W)`, of the maps' own size where the patches have theirs.
        """
        batch, channels = len(patches), patches.shape[1] // self.count
        (a, b, c), (d, h, w) = self.counts, patches.shape[2:]
        cells = patches.reshape(batch, a, b, c, channels, d, h, w).permute(0, 4, 1, 5, 2, 6, 3, 7)
        maps = cells.reshape(batch, channels, a * d, b * h, c * w)
        for axis, edge in enumerate((d, h, w)):
            maps = maps.narrow(axis + 2, *self._within(axis, edge))
        return maps

    def _within(self, axis: int, edge: int) -> tuple[int, int]:
        """First and number of the reassembled entries that are centred within the maps, of `edge` a patch."""
        size, patch, shift, count = self.size[axis], self.patch[axis], self.shift[axis], self.counts[axis]
        margin = (patch - edge) // 2  # from the patch's face to the centre of its first entry
        first = min(max(shift - margin, 0), edge)
        last = min(max(size + shift - margin - (count - 1) * patch, 0), edge)
        return first, (count - 1) * edge + last - first


class PatchIndividualFilters(nn.Module):
    """The layer: split into patches, one convolution for each, reassemble. All patches are one grouped convolution.

    With `overlap`, a second set of patches with filters of its own begins half a patch earlier along each axis. Along
    each axis the borders of the first set thus lie in the middle of patches of the second. The output is the mean of
    both. (In the authors' code the second set begins a whole patch further in, so that it coincides with the first.)

    Args:
        before, after: Channels of input and output.
        size: Of the maps, `(depth, height, width)`; it stays as it is.
        patch_size: Of the patches, `(depth, height, width)`, or one edge for all. Where it does not divide an axis, the
            last patch is filled up with zeros, and the output is cropped.
        kernel_size: Edge of the filters.
        padding: `"same"` surrounds each patch by zeros; the output has the size of the input. `"valid"` does not.
        overlap: Whether there is the second set.
        block: Whether batch norm and ReLU follow each convolution, before patches are reassembled. Patches share
            neither its statistics nor its weights.

    Raises:
        InputError: A size is not positive, a patch is smaller than an unpadded kernel, or patches cannot overlap.
    """

    def __init__(
        self,
        before: int,
        after: int,
        size: Sequence[int],
        *,
        patch_size: int | Sequence[int],
        kernel_size: int = 3,
        padding: str = "same",
        overlap: bool = False,
        block: bool = False,
    ):
        super().__init__()
        patch = (patch_size,) * 3 if isinstance(patch_size, int) else tuple(patch_size)
        _check(tuple(size), patch, kernel_size, padding, overlap)
        shifts = [(0, 0, 0), tuple(edge // 2 for edge in patch)] if overlap else [(0, 0, 0)]
        self.grids = tuple(PatchGrid(tuple(size), patch, shift) for shift in shifts)
        self.sets = nn.ModuleList(
            _filters(before, after, grid.count, kernel_size, padding, block) for grid in self.grids
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`(N, before, *size)` to `(N, after, *size)`; smaller where unpadded.

        Raises:
            InputError: The maps have another size.
        """
        expected = self.grids[0].size
        if tuple(maps.shape[2:]) != expected:
            raise InputError(
                f"The maps have size {tuple(maps.shape[2:])}, and the patches were laid out for {expected}; resample"
                " the volumes to the grid of the training."
            )
        found = [
            grid.reassemble(filters(grid.split(maps))) for grid, filters in zip(self.grids, self.sets, strict=True)
        ]
        return torch.stack(found).mean(0) if len(found) > 1 else found[0]


def _filters(before: int, after: int, patches: int, kernel: int, padding: str, block: bool) -> nn.Sequential:
    """The convolution of each patch by itself: patch p has the filters `weight[p * after : (p + 1) * after]`."""
    convolution = nn.Conv3d(patches * before, patches * after, kernel, padding=padding, groups=patches)
    following = [nn.BatchNorm3d(patches * after), nn.ReLU(inplace=True)] if block else []
    return nn.Sequential(convolution, *following)


def _check(size: Sequence[int], patch: Sequence[int], kernel: int, padding: str, overlap: bool) -> None:
    if len(size) != 3 or len(patch) != 3 or min(*size, *patch, kernel) < 1:
        raise InputError(f"Maps of {size}, patches of {patch} and a kernel of {kernel} need three sizes above 0 each.")
    if padding not in ("same", "valid"):
        raise InputError(f"There is no padding {padding!r}; choose 'same' or 'valid'.")
    if padding == "valid" and kernel > min(patch):
        raise InputError(f"A kernel of {kernel} does not fit into patches of {patch}; pad, or choose larger patches.")
    if padding == "valid" and overlap:
        raise InputError("Unpadded patches leave gaps that differ from set to set; choose padding 'same' to overlap.")
    if overlap and min(patch) < 2:
        raise InputError(f"Patches of {patch} cannot begin half a patch earlier; choose 2 or more along each axis.")
