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
    size = windows.shape[1] - step * (kernels.shape[1] - 1)
    found = windows.new_empty(len(windows), size, size, size)
    for corner in product(range(min(step, size)), repeat=3):
        # Places whole steps apart see the same voxels, every step-th of the window.
        here = (slice(None), *(slice(first, None, step) for first in corner))
        found[here] = _side_by_side(windows[here], kernels)
    return found


def _side_by_side(windows: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """The same with a step of one, `(N, a, b, c, C)` to `(N, a - k + 1, b - k + 1, c - k + 1)`."""
    count, depth, height, width, channels = windows.shape
    k = kernels.shape[1]
    layers, places, plane = depth - k + 1, width - k + 1, width * channels
    # A column for each row of the kernel at each place along a row of the window.
    band = windows.new_zeros(count, k, width, channels, places, k)
    rows_of_kernel = kernels.permute(0, 1, 3, 4, 2)
    for place in range(places):
        band[:, :, place : place + k, :, place] = rows_of_kernel
    band = band.flatten(4).flatten(1, 3)
    planes = windows.movedim(2, 1).reshape(count, height, depth * plane)
    sums = windows.new_empty(count, layers, height, places, k)
    for layer in range(layers):
        sums[:, layer] = (planes[:, :, layer * plane : (layer + k) * plane] @ band).unflatten(2, (places, k))
    # A place takes row i of the kernel from the i-th row of the window after its own.
    return sums.unfold(2, k, 1).diagonal(0, 4, 5).sum(-1)
