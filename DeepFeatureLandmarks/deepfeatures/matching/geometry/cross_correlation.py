"""Cross-correlation of many small windows, each with a kernel of its own, as products of matrices.

Processors and GPUs multiply matrices many times faster than they slide kernels, so that the zeros which are multiplied
beside the kernel cost less than they save.
"""

from __future__ import annotations

from itertools import product

import torch


def cross_correlate(windows: torch.Tensor, kernels: torch.Tensor, step: int) -> torch.Tensor:
    """What each kernel finds wherever it fits into its window, added up over channels.

    Args:
        windows: `(N, n, n, n, C)`.
        kernels: `(N, k, k, k, C)`, their entries `step` voxels of the window apart.

    Returns:
        `(N, m, m, m)` with `m = n - step (k - 1)`.
    """
    k, size = kernels.shape[1], windows.shape[1] - step * (kernels.shape[1] - 1)
    phases = _phases(windows, step)
    count, height, width = len(phases), phases.shape[4], phases.shape[6]
    places, plane = width - k + 1, phases.shape[6:].numel()
    rows, bands = phases.flatten(5).flatten(1, 4), _bands(kernels, width).flatten(4).flatten(1, 3)
    sums = windows.new_empty(count, places, rows.shape[1], places * k)
    for layer in range(places):
        sums[:, layer] = rows[:, :, layer * plane : (layer + k) * plane] @ bands
    # A place takes row i of the kernel from the i-th row of the window after its own.
    sums = sums.view(count, places, step, step, step, height, places, k)
    found = sums.unfold(5, k, 1).diagonal(0, 7, 8).sum(-1)
    found = found.permute(0, 1, 2, 5, 3, 6, 4).flatten(5).flatten(3, 4).flatten(1, 2)
    return found[:, :size, :size, :size]


def _phases(windows: torch.Tensor, step: int) -> torch.Tensor:
    """Every `step`-th voxel of windows: places whole steps apart see the same ones.

    Returns:
        `(N, step, step, step, height, depth, width, C)`: where a phase starts, and what it holds; zeros beyond the end.
    """
    count, n, channels = len(windows), windows.shape[1], windows.shape[-1]
    length = -(-n // step)
    phases = windows.new_zeros(count, step, step, step, length, length, length, channels)
    for z, y, x in product(range(step), repeat=3):
        phase = windows[:, z::step, y::step, x::step].movedim(2, 1)
        height, depth, width = phase.shape[1:4]
        phases[:, z, y, x, :height, :depth, :width] = phase
    return phases


def _bands(kernels: torch.Tensor, width: int) -> torch.Tensor:
    """A column for each row of a kernel at each place along a row of the window: `(N, k, width, C, places, k)`."""
    count, k, channels = *kernels.shape[:2], kernels.shape[-1]
    places = width - k + 1
    bands = kernels.new_zeros(count, k, width, channels, places, k)
    rows_of_kernel = kernels.permute(0, 1, 3, 4, 2)
    for place in range(places):
        bands[:, :, place : place + k, :, place] = rows_of_kernel
    return bands
