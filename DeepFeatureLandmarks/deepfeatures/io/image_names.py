"""Names of image files and what they end in."""

from __future__ import annotations

from pathlib import Path

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".ima")
ZARR_SUFFIXES = (".ome.zarr", ".zarr")


def image_stem(path: str | Path) -> str:
    """The file name of an image without its image suffix: `"scan.v2"` for `"data/scan.v2.nii.gz"`.

    Names without a known suffix, as DICOM files and folders often have them, stay whole.
    """
    name = Path(path).name or Path(path).resolve().name
    for suffix in (*IMAGE_SUFFIXES, *ZARR_SUFFIXES):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def person_of(name: str) -> str:
    """Whose scan it is, by its name: `sub-…` of a BIDS name, else the scan itself."""
    head = name.split("_")[0]
    return head if head.startswith("sub-") else name
