"""Whether voxels look like Hounsfield units, whatever a file calls them.

Every CT in Hounsfield units shows something dark, air, lung or fat, next to much soft tissue, and little between lung
and fat. Stored values without their rescaling, cone-beam and micro-CT, grey values and MR do not.
"""

from __future__ import annotations

import torch

SAMPLE_VOXELS = 1 << 20
LOWEST = -1100.0  # below lies what scanners write outside their field of view
LUNG_FROM, LUNG_TO, FAT_FROM, FAT_TO, SOFT_TO = -1100.0, -500.0, -200.0, -30.0, 200.0
AIR_TO = -600.0
DARK_SHARE = AIR_SHARE = 0.01  # of all voxels in the field of view
SOFT_SHARE, SOFT_SHARE_UNNAMED = 0.3, 0.5  # of the body; contrast medium, bone and metal are the rest
DENSE_FROM, DENSE_SHARE = 800.0, 0.05  # of the body: more than bone alone is likely to reach
PEAK_BINS = 8  # of 50 HU
PEAK_RATIO = 2.5  # soft tissue at its most frequent 50 HU, to the mean between lung and fat


def looks_like_hounsfield(voxels: torch.Tensor, is_called_ct: bool) -> bool:
    """Whether the voxels look like Hounsfield units.

    Args:
        voxels: Of any shape.
        is_called_ct: Whether the file says that it is CT. Of a file that says nothing more is asked, real air.
    """
    flat = voxels.flatten()
    sample = flat[:: max(1, len(flat) // SAMPLE_VOXELS)]
    sample = sample[sample >= LOWEST]

    def share(low: float, high: float) -> float:
        return float(((sample >= low) & (sample < high)).float().mean())

    if not len(sample) or share(LUNG_FROM, LUNG_TO) + share(FAT_FROM, FAT_TO) < DARK_SHARE:
        return False
    soft, body = share(FAT_FROM, SOFT_TO), float((sample >= FAT_FROM).float().mean())
    if soft < body * (SOFT_SHARE if is_called_ct else SOFT_SHARE_UNNAMED):
        return False
    peak = float(torch.histc(sample, PEAK_BINS, FAT_FROM, SOFT_TO).max()) / len(sample)
    between = share(LUNG_TO, FAT_FROM) * (SOFT_TO - FAT_FROM) / PEAK_BINS / (FAT_FROM - LUNG_TO)  # in as many HU
    if peak <= PEAK_RATIO * between:
        return False
    # grey values whose air lies around 0: noise alone is dark, and fat and muscle lie where only dense bone should
    dense, above = share(DENSE_FROM, torch.inf), share(SOFT_TO, torch.inf)
    is_dark_noise = share(LUNG_FROM, LUNG_TO) <= share(LUNG_TO, FAT_FROM)
    if is_dark_noise and dense > max(DENSE_SHARE * body, above / 2):
        return False
    return is_called_ct or share(LUNG_FROM, AIR_TO) >= AIR_SHARE
