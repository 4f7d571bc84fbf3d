"""Every network by name: what it is, which layers it has, whether its weights are there, and how to build it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from deepfeatures.errors import InputError
from deepfeatures.networks import cifl, layers, resnext, vgg, weights
from deepfeatures.networks.base import Encoder, Layer
from deepfeatures.networks.mind import Mind, mind_layers


@dataclass(frozen=True)
class NetworkInfo:
    """What a user wants to know of a network before choosing it.

    Args:
        name: The name that users type.
        paper_number: Its number in the paper, `None` for networks that the paper does not have.
        summary: One line.
        parameters: Trainable and stored numbers of the whole network.
        layers: Selectable layers in the order of their depth.
        default_layer: The layer used where none is named.
        weights: `"none needed"`, `"available"`, `"partly available (to <layer>)"` or `"missing"`.
        licence: Of the weights; of the method where none are needed.
        aliases: Other names of layers.
    """

    name: str
    paper_number: int | None
    summary: str
    parameters: int
    layers: Mapping[str, Layer]
    default_layer: str
    weights: str
    licence: str
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A public address of weights; nothing is read from it but by `deepfeatures weights fetch`.

    Args:
        url: Where the publisher keeps the file.
        file: Name to give it; its suffix tells the importer what it is.
        checksum: `"md5:…"` or `"sha256:…"` as the publisher states it, `None` where it states none.
    """

    url: str
    file: str
    checksum: str | None = None


@dataclass(frozen=True)
class Entry:
    """One line of the catalog.

    Args:
        layers: Gives the layers, available as far as the given convolutions have weights; all with `None`.
        build: Makes the encoder up to a layer from `(name, layer, seed, tensors)`; `tensors` may be `None`.
        weight_key: Name of the weights file, `None` where no weights are needed.
        source: Where they are published, `None` where no public address is known.
    """

    summary: str
    layers: Callable[[Collection[str] | None], dict[str, Layer]]
    build: Callable[[str, str, int, Mapping[str, torch.Tensor] | None], Encoder]
    default_layer: str
    licence: str
    parameters: int = 0
    paper_number: int | None = None
    weight_key: str | None = None
    source: Source | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)


KERAS_VGG19 = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"


def _pseudo(combine: str, summary: str) -> Entry:
    copies = len(vgg.ORIENTATIONS) if combine == "concatenated" else 1
    return Entry(
        summary=summary,
        layers=lambda available: vgg.vgg_layers(available, copies=copies),
        build=lambda name, layer, _, tensors: vgg.PseudoVgg19(name, layer, weights=tensors, combine=combine),
        default_layer="conv2_2",
        licence="VGG, CC BY 4.0",
        parameters=layers.count(vgg.PLAN),
        paper_number=2,
        weight_key="vgg19-2d",
        source=Source(  # the address and the checksum that Keras' own code names
            f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{KERAS_VGG19}",
            KERAS_VGG19,
            "md5:253f8cb515780f3b799900260a226db6",
        ),
    )


ENTRIES: dict[str, Entry] = {
    "vgg19-3d-random": Entry(
        summary="VGG-19 in 3D with random kernels drawn from the seed; needs no training.",
        layers=vgg.vgg_layers,
        build=lambda name, layer, seed, _: vgg.Vgg19(name, layer, seed=seed),
        default_layer="conv2_2",
        licence="Apache-2.0",
        parameters=layers.count(vgg.PLAN),
        paper_number=1,
    ),
    "vgg19-3d-pseudo": _pseudo(
        "concatenated", "ImageNet's 2D VGG-19 expanded to 3D in three orientations, one after the other."
    ),
    "vgg19-3d-pseudo-mean": _pseudo("averaged", "ImageNet's 2D VGG-19 expanded to 3D, the mean of three orientations."),
    "vgg19-3d-student": Entry(
        summary="VGG-19 in 3D trained to predict the maps of the three pseudo-3D networks.",
        layers=vgg.vgg_layers,
        build=lambda name, layer, _, tensors: vgg.Vgg19(name, layer, weights=tensors),
        default_layer="conv2_2",
        licence="that of the imported weights",
        parameters=layers.count(vgg.PLAN),
        paper_number=3,
        weight_key="vgg19-3d-student",
    ),
    "resnet-3d-student": Entry(
        summary="ResNeXt-50 in 3D trained to predict the mean features of the three pseudo-3D networks.",
        layers=resnext.resnext_layers,
        build=lambda name, layer, _, tensors: resnext.ResNext50(name, layer, weights=tensors),
        default_layer="stage1_block1_conv3",
        licence="that of the imported weights",
        parameters=resnext.parameter_count(),
        paper_number=4,
        weight_key="resnet-3d-student",
        aliases=resnext.ALIASES,
    ),
    "brainage-resnet-3d": Entry(
        summary="ResNeXt-50 in 3D trained by the paper's authors to tell age, sex and site from T1-weighted brains.",
        layers=resnext.resnext_layers,
        build=lambda name, layer, _, tensors: resnext.ResNext50(name, layer, weights=tensors),
        default_layer="stage1_block1_conv3",
        licence="that of the imported weights",
        parameters=resnext.parameter_count(),
        paper_number=5,
        weight_key="brainage-resnet-3d",
        # the address that ANTsPyNet's code names for `brainAgeGender`; it names no checksum
        source=Source("https://ndownloader.figshare.com/files/22179948", "brainAgeGender.h5"),
        aliases=resnext.ALIASES,
    ),
    "cifl": Entry(
        summary="Contrast-invariant features learnt from synthetic shapes, alone or beside self-similarity (fine_ssc).",
        layers=lambda available: cifl.cifl_layers(available=available is None or bool(available)),
        build=lambda name, _layer, _seed, tensors: cifl.build_cifl(name, tensors),
        default_layer="fine_ssc",
        licence="Apache-2.0",
        parameters=cifl.parameter_count(),
        weight_key="cifl",
    ),
    "mind": Entry(
        summary="Self-similarity descriptors (MIND and MIND-SSC), the untrained yardstick of multi-modal matching.",
        layers=lambda _: mind_layers(),
        build=lambda name, *_: Mind(name),
        default_layer="ssc_r1_d2",
        licence="Apache-2.0",
    ),
}


def names() -> tuple[str, ...]:
    """All networks, those of the paper first."""
    return tuple(ENTRIES)


def describe(name: str) -> NetworkInfo:
    """What the catalog knows of a network, with the present state of its weights."""
    entry = _entry(name)
    layers = entry.layers(_weighted(entry))
    return NetworkInfo(
        name=name,
        paper_number=entry.paper_number,
        summary=entry.summary,
        parameters=entry.parameters,
        layers=layers,
        default_layer=entry.default_layer,
        weights=_weights_state(entry, layers),
        licence=entry.licence,
        aliases=entry.aliases,
    )


def resolve_layer(name: str, layer: str | None = None) -> str:
    """The layer's own name for a name, an alias, or nothing (the default layer)."""
    entry = _entry(name)
    if layer is None:
        return entry.default_layer
    layer = entry.aliases.get(str(layer), str(layer))
    known = entry.layers(None)
    if layer not in known:
        raise InputError(f"{name} has no layer {layer!r}; {_suggest(layer, [*known, *entry.aliases])}.")
    return layer


def build(
    name: str,
    *,
    layer: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Encoder:
    """The network up to `layer` (the default layer where none is named), ready to encode.

    Args:
        name: A name of the catalog.
        layer: The deepest layer needed, or an alias of it; what lies beyond is not built.
        seed: Draws the kernels of random networks.
        device: Where to put it.
        dtype: Of the weights. Encoding casts them to the precision asked for.

    Raises:
        InputError: The name or the layer is unknown, or the layer's weights are not there.
    """
    entry, layer = _entry(name), resolve_layer(name, layer)
    layers = entry.layers(_weighted(entry))
    if not layers[layer].available:
        there = [known for known in layers.values() if known.available]
        so_far = f"have been imported up to {there[-1].name} only" if there else "are not there"
        raise InputError(
            f"The weights of {name} {layer} {so_far}: get them with `deepfeatures weights import {name} FILE`"
            f"{' or `deepfeatures weights fetch ' + name + '`' if entry.source else ''}"
            ", or choose another layer or network."
        )
    tensors = None if entry.weight_key is None else weights.load(entry.weight_key)
    return entry.build(name, layer, seed, tensors).to(device=device, dtype=dtype).eval().requires_grad_(False)


def weight_key_of(name: str) -> str | None:
    """The name under which the network's weights are kept; `None` where it needs none."""
    return _entry(name).weight_key


def source_of(name: str) -> Source | None:
    """Where the network's weights are published; `None` where no address is known."""
    return _entry(name).source


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise InputError(f"There is no network {name!r}; {_suggest(name, names())}.")
    return ENTRIES[name]


def _weighted(entry: Entry) -> Collection[str] | None:
    """The convolutions that have weights; `None` where none are needed."""
    if entry.weight_key is None:
        return None
    return {tensor.rsplit(".", 1)[0] for tensor in weights.record(entry.weight_key).get("tensors", ())}


def _weights_state(entry: Entry, layers: Mapping[str, Layer]) -> str:
    if entry.weight_key is None:
        return "none needed"
    there = [layer.name for layer in layers.values() if layer.available]
    if len(there) == len(layers):
        return "available"
    return f"partly available (to {there[-1]})" if there else "missing"


def _suggest(wrong: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    return "did you mean " + " or ".join(close) if close else "choose one of " + ", ".join(known)
