"""Two made heads for Slicer's SampleData module: no download, no patient."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import slicer

CATEGORY = "Deep Feature Landmarks"
NAME = "Two made heads"
LIMIT_S = 300
# In a process of its own: making the heads takes PyTorch, which is not to be loaded into Slicer.
SCRIPT = """
import sys
from pathlib import Path
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.phantom import make_pair
from deepfeatures.io.volume_files import write_volume
folder = Path(sys.argv[1])
template, points, target, truth = make_pair()
write_volume(template, folder / "Template head.nrrd")
write_volume(target, folder / "Target head.nrrd")
write_landmarks(points, folder / "Template landmarks.mrk.json")
write_landmarks(truth, folder / "True places in target.mrk.json")
"""
FILES = ("Template head.nrrd", "Target head.nrrd", "Template landmarks.mrk.json", "True places in target.mrk.json")


def register(thumbnail: Path) -> None:
    """Make the sample appear in the SampleData module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        thumbnailFileName=str(thumbnail),
        uris=["made on this computer"] * len(FILES),  # SampleData wants one a file
        fileNames=list(FILES),
        nodeNames=[name.split(".")[0] for name in FILES],
        customDownloader=lambda source: _loadOrShowError(),
    )


def _loadOrShowError() -> list:
    with slicer.util.tryWithErrorDisplay("The sample could not be loaded."):
        return load()


def load(folder: Path | None = None) -> list:
    """Make the heads, once, and load them.

    Args:
        folder: Where the files are kept; `None` for Slicer's cache.

    Returns:
        Template, target, their volume nodes; template landmarks and true places, markups nodes.
    """
    folder = folder or Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / "DeepFeatureLandmarks"
    if not all((folder / name).exists() for name in FILES):
        folder.mkdir(parents=True, exist_ok=True)
        with slicer.util.WaitCursor():
            _generate(folder)
    volumes = [slicer.util.loadVolume(str(folder / name)) for name in FILES[:2]]
    return volumes + [slicer.util.loadMarkups(str(folder / name)) for name in FILES[2:]]


def _generate(folder: Path) -> None:
    python = shutil.which("PythonSlicer") or sys.executable
    paths = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {paths!r})\n{SCRIPT}"
    made = subprocess.run([python, "-c", code, str(folder)], capture_output=True, text=True, timeout=LIMIT_S)
    if made.returncode:
        raise RuntimeError(
            "The heads could not be made; install the packages in the module Deep Feature Landmarks first.\n"
            + made.stderr[-1000:]
        )
