"""Bring weights of others into the form that a network takes: nothing is downloaded, nothing is unpickled."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, cifl, layers, resnext, vgg, weights
from deepfeatures.networks.layers import Convolution, Part

Tensors = dict[str, torch.Tensor]
UNREADABLE = (
    OSError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    EOFError,
    SafetensorError,
    UnpicklingError,
    zipfile.BadZipFile,
)

TORCHVISION_DEVIATION = (0.229, 0.224, 0.225)  # of red, green and blue, by which it divides intensities in [0, 1]
FLAT_VGG = {**vgg.vgg_plan((3, 3)), "conv1_1": Convolution(3, 64, (3, 3))}


def import_weights(network: str, path: str | Path, *, origin: Mapping[str, object] | None = None) -> Path:
    """Read weights, check every shape, and keep them for `network` in the user's folder of weights.

    Understood for the pseudo-3D networks: Keras' VGG-19 (`.h5`), arrays named like Keras' layers (`.npz`), the state
    dict of torchvision's VGG-19 (`.pth`), `.safetensors`; the first blocks alone are fine. For the ResNets: Keras HDF5
    as ANTsRNet writes it, or `.safetensors`; for CIFL and the VGG student `.safetensors`, of the student's first blocks
    alone, too. A note beside a `.safetensors` file, as training writes it, must fit the file, and is kept with the
    weights.

    Args:
        network: Whose weights they are.
        path: The file.
        origin: What else is known of the file; kept with the weights.

    Returns:
        The stored file.

    Raises:
        InputError: The network takes no weights, or the file is unreadable, of another network, or of wrong shapes.
    """
    path = Path(path)
    weight_key = catalog.weight_key_of(network)
    if weight_key is None:
        raise InputError(f"{network} needs no weights: use it as it is.")
    if not path.is_file():
        raise InputError(f"There is no weights file {path}: check the path.")
    fit, readers = WEIGHT_FILES[weight_key]
    kind = path.suffix.lower()
    if kind not in readers:
        raise InputError(f"Weights of {network} are read from {', '.join(readers)}: {path.name} is none of these.")
    try:
        tensors = fit(readers[kind](path), path)
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"The weights file {path.name} cannot be read as {kind} weights of {network}.") from error
    return weights.save(weight_key, tensors, source=path, origin=origin or _note(path))


def _note(path: Path) -> dict[str, object]:
    """What the note beside a weights file says of it; empty where there is none."""
    file = path.with_suffix(".json")
    if path.suffix.lower() != ".safetensors" or not file.is_file():
        return {}
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        noted = note["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # some other program's file of that name
    if noted != weights.sha256(path):
        raise InputError(f"{path.name} is not the file that {file.name} beside it describes: copy both again.")
    return note


def _fitting(plan: Mapping[str, Part], tensors: Tensors, path: Path, *, first_blocks_do: bool = False) -> Tensors:
    """The tensors of the plan, shapes checked; with `first_blocks_do`, those of its beginning are enough."""
    if first_blocks_do:
        there = [name for name in plan if f"{name}.weight" in tensors]
        if not there:
            raise InputError(f"{path.name} holds no convolution named as in VGG-19: take a file of that network.")
        plan = {name: plan[name] for name in list(plan)[: list(plan).index(there[-1]) + 1]}
    layers.check(plan, tensors)
    return {f"{name}.{key}": tensors[f"{name}.{key}"].float() for name, part in plan.items() for key in part.shapes}


def _read_safetensors(path: Path) -> Tensors:
    return load_file(path)


def _read_flat_npz(path: Path) -> Tensors:
    """Arrays `block1_conv1.kernel` (height, width, in, out) and `block1_conv1.bias`."""
    with np.load(path, allow_pickle=False) as arrays:
        return _flat_tensors({name: arrays[name] for name in arrays.files})


def _read_flat_torchvision(path: Path) -> Tensors:
    """`features.0.weight`, …: its network wants colours in [0, 1], standardised, red first.

    The standard deviation goes into the first kernel, so that it takes intensities in [-127.5, 127.5] as Keras' does,
    and the colours are put in Keras' order, blue first.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    numbers = sorted({int(match[1]) for key in state if (match := re.fullmatch(r"features\.(\d+)\.weight", key))})
    if len(numbers) > len(vgg.PLAN) or any(f"features.{n}.running_mean" in state for n in numbers):
        raise InputError(f"{path.name} is not torchvision's VGG-19 without batch norm: take `vgg19`.")
    tensors = {}
    for name, number in zip(vgg.PLAN, numbers, strict=False):
        tensors[f"{name}.weight"] = state[f"features.{number}.weight"]
        tensors[f"{name}.bias"] = state[f"features.{number}.bias"]
    deviation = torch.tensor(TORCHVISION_DEVIATION)[:, None, None]
    first = tensors.get("conv1_1.weight")
    if first is not None and first.shape[1] == 3:
        tensors["conv1_1.weight"] = (first / (255 * deviation)).flip(1)
    return tensors


def _read_flat_keras(path: Path) -> Tensors:
    """Keras' VGG-19, as `application_vgg19` saves it, with layers named `block1_conv1` or numbered `conv2d_3`."""
    found = _keras_arrays(path, r"block\d_conv\d|conv2d(_\d+)?")
    return _flat_tensors({f"{layer}.{key}": array for layer, key, array in found})


def _flat_tensors(arrays: Mapping[str, np.ndarray]) -> Tensors:
    """Keras' names and order of axes as ours."""
    numbers = sorted({_number(name) for name in arrays if name.startswith("conv2d")})
    by_number = dict(zip(numbers, vgg.PLAN, strict=False))
    tensors = {}
    for name, array in arrays.items():
        layer, key = name.rsplit(".", 1)
        if match := re.fullmatch(r"block(\d)_conv(\d)", layer):
            ours = f"conv{match[1]}_{match[2]}"
        else:
            ours = by_number[_number(layer)]
        kernel = key == "kernel"
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        tensors[f"{ours}.weight" if kernel else f"{ours}.bias"] = tensor.permute(3, 2, 0, 1) if kernel else tensor
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _read_resnext_keras(path: Path) -> Tensors:
    """ANTsRNet's ResNet: convolutions and batch norms numbered in the order in which its code makes them.

    A grouped convolution is 64 of them, one after the other. Kernels are (x, y, z, in, out).
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer, key, array in _keras_arrays(path, r"(conv3d|batch_normalization)(_\d+)?"):
        found.setdefault(layer, {})[key] = array
    convolutions = [found[name] for name in sorted(found, key=_number) if name.startswith("conv")]
    norms = [found[name] for name in sorted(found, key=_number) if name.startswith("batch")]
    wanted = {name: part.groups for name, part in resnext.PLAN.items() if isinstance(part, Convolution)}
    if (len(convolutions), len(norms)) != (sum(wanted.values()), len(resnext.PLAN) - len(wanted)):
        raise InputError(
            f"{path.name} holds {len(convolutions)} convolutions and {len(norms)} batch norms where this ResNet has"
            f" {sum(wanted.values())} and {len(resnext.PLAN) - len(wanted)}: take the weights of that network."
        )
    tensors, next_convolution, next_norm = {}, iter(convolutions), iter(norms)
    for name in _in_order_of_making():
        if name in wanted:
            group = [next(next_convolution) for _ in range(wanted[name])]
            kernel = np.concatenate([member["kernel"] for member in group], axis=-1)
            tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(4, 3, 2, 1, 0)))
            tensors[f"{name}.bias"] = torch.from_numpy(np.concatenate([member["bias"] for member in group]))
        else:
            norm = next(next_norm)
            for ours, theirs in BATCH_NORM.items():
                tensors[f"{name}.{ours}"] = torch.from_numpy(norm[theirs])
    return tensors


def _in_order_of_making() -> list[str]:
    """Our parts as ANTsRNet's code makes them: a block's shortcut after its main path."""
    ordered = ["stem_conv", "stem_bn"]
    for block in resnext.block_names():
        own = [name for name in resnext.PLAN if name.startswith(f"{block}_")]
        ordered += sorted(own, key=lambda name: "shortcut" in name)
    return ordered


BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
NUMBERED = {"conv": ("kernel", "bias"), "batch": tuple(BATCH_NORM.values())}


def _keras_arrays(path: Path, layer_pattern: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Layer, variable and array of all layers of a Keras HDF5 file that match, in any of Keras' layouts.

    Variables are named (`kernel:0`, `kernel`, `block1_conv1_W_1:0`) or numbered (`vars/0`).
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError("Keras weights need h5py: install it with `pip install h5py`.") from error

    datasets: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        root.visititems(
            lambda name, item: datasets.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    for name, array in datasets.items():
        *folders, variable = name.split("/")
        layers = [folder for folder in folders if re.fullmatch(layer_pattern, folder)]
        if not layers or "optimizer" in name:
            continue
        variable = variable.split(":")[0]
        if variable.isdigit():
            variable = NUMBERED["batch" if layers[0].startswith("batch") else "conv"][int(variable)]
        elif old := re.search(r"_(W|b)(_\d+)?$", variable):
            variable = {"W": "kernel", "b": "bias"}[old[1]]
        yield layers[0], variable, array


def _number(name: str) -> int:
    """The number at the end of a layer's name, 0 where there is none, as Keras counts."""
    match = re.search(r"_(\d+)(\.|$)", name)
    return int(match[1]) if match else 0


Reader = Callable[[Path], Tensors]
Fit = Callable[[Tensors, Path], Tensors]  # to what the network takes; raises `InputError` where the tensors do not fit
HDF5 = (".h5", ".hdf5")
OWN = {".safetensors": _read_safetensors}
WEIGHT_FILES: dict[str, tuple[Fit, dict[str, Reader]]] = {
    "vgg19-2d": (
        partial(_fitting, FLAT_VGG, first_blocks_do=True),
        {
            **dict.fromkeys(HDF5, _read_flat_keras),
            ".npz": _read_flat_npz,
            **dict.fromkeys((".pth", ".pt"), _read_flat_torchvision),
            **OWN,
        },
    ),
    "vgg19-3d-student": (partial(_fitting, vgg.PLAN, first_blocks_do=True), OWN),
    **dict.fromkeys(
        ("resnet-3d-student", "brainage-resnet-3d"),
        (partial(_fitting, resnext.PLAN), {**dict.fromkeys(HDF5, _read_resnext_keras), **OWN}),
    ),
    "cifl": (lambda tensors, _: cifl.check_weights(tensors), OWN),
}
