"""Protocols: learning, forgetting and merging are exact, and their file is whole, safe and always the same."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import Definition, begin_protocol
from deepfeatures.matching.learning.protocol_file import CONTENT, HEAD, read_protocol, write_protocol
from deepfeatures.matching.teaching import teach

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture(scope="module")
def begun(family):
    """The family's protocol, which nobody has taught, and what five of its people teach."""
    template, landmarks, targets, truths = family
    matcher = Matcher(device="cpu")
    described = (
        replace(landmarks[0], description="the first corner"),
        *landmarks[1:6],
        Landmark("off", None, "missing"),
    )
    protocol = begin_protocol(
        template, LandmarkSet(described, "corners"), matcher.features_key, {"p1": Definition("", PICTURE)}
    )

    def points(truth: np.ndarray) -> LandmarkSet:
        return LandmarkSet(
            tuple(replace(one, position=tuple(place)) for one, place in zip(landmarks, truth, strict=True))
        )

    pairs = list(zip(targets[:5], truths[:5] + 1.0, strict=True))
    return protocol, [teach(matcher, protocol, target, points(truth)) for target, truth in pairs]


def contents(protocol, tmp_path) -> bytes:
    path = tmp_path / "protocol.dflp"
    write_protocol(protocol, path)
    return path.read_bytes()


def test_forgetting_a_scan_is_as_if_it_had_never_been_learnt(begun, tmp_path):
    protocol, scans = begun
    whole = protocol.with_scans(scans)
    for index, scan in enumerate(scans):
        never = protocol.with_scans([one for one in scans if one is not scan])
        assert contents(whole.without(scan.name), tmp_path) == contents(never, tmp_path), index
    for scan in scans:
        whole = whole.without(scan.person)
    assert contents(whole, tmp_path) == contents(protocol, tmp_path)


def test_scans_may_be_learnt_in_any_order_one_by_one_or_in_protocols_that_are_merged(begun, tmp_path):
    protocol, scans = begun
    at_once = contents(protocol.with_scans(scans), tmp_path)
    for order in itertools.islice(itertools.permutations(scans), 0, 120, 29):
        one_by_one = protocol
        for scan in order:
            one_by_one = one_by_one.with_scan(scan)
        assert contents(one_by_one, tmp_path) == at_once
        first, second = protocol.with_scans(order[:3]), protocol.with_scans(order[2:])
        assert contents(first.merged(second), tmp_path) == at_once
        assert contents(second.merged(first), tmp_path) == at_once


def test_a_scan_that_is_taught_again_is_learnt_anew(begun):
    protocol, scans = begun
    again = replace(scans[0], true=scans[0].true + 1, learnt="2999-01-01T00:00:00+00:00")
    for known in (
        protocol.with_scans(scans).with_scan(again),
        protocol.with_scans(scans).merged(protocol.with_scan(again)),
        protocol.with_scan(again).merged(protocol.with_scans(scans)),
    ):
        assert len(known.scans) == 5
        assert known.scans[[one.key for one in known.scans].index(again.key)] is again


def test_a_protocol_is_read_as_it_was_written(begun, tmp_path):
    protocol, scans = begun
    whole = protocol.with_scans(scans)
    data = contents(whole, tmp_path)
    read = read_protocol(tmp_path / "protocol.dflp")
    assert contents(read, tmp_path) == data
    assert read.summary() == whole.summary()
    assert read.landmarks.name == protocol.landmarks.name == "corners"
    assert read.definitions == {"p0": Definition("the first corner"), "p1": Definition("", PICTURE)}
    assert [landmark.name for landmark in read.landmarks] == [f"p{number}" for number in range(6)]  # those with a place
    assert torch.equal(read.template.voxels, protocol.template.voxels)


def test_voxels_that_are_whole_numbers_are_kept_exactly_in_two_bytes(begun, tmp_path):
    protocol, _ = begun
    whole = replace(protocol.template, voxels=torch.randint(-1000, 3000, (32, 32, 32)).float())
    large = len(contents(replace(protocol, template=replace(whole, voxels=whole.voxels + 0.5)), tmp_path))
    small = len(contents(replace(protocol, template=whole), tmp_path))
    assert torch.equal(read_protocol(tmp_path / "protocol.dflp").template.voxels, whole.voxels)
    assert small < large


def test_no_voxel_of_a_taught_scan_is_in_the_file(begun, tmp_path):
    protocol, scans = begun
    contents(protocol.with_scans(scans), tmp_path)
    with zipfile.ZipFile(tmp_path / "protocol.dflp") as file:
        sizes = {part.filename: part.file_size for part in file.infolist() if part.filename.startswith("scans/")}
    assert len(sizes) == 5
    kept = sum(getattr(scans[0], name).nbytes for name in ("true_jets", "found_jets"))
    assert max(sizes.values()) < 1.4 * kept  # jets, and little more: an image of the frame would be another share
    assert not any(tensor.shape[-3:] == (32, 32, 32) for tensor in vars(scans[0]).values() if torch.is_tensor(tensor))


def rewritten(data: bytes, changes: dict[str, bytes | None]) -> bytes:
    """The archive with some parts changed, or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as file, zipfile.ZipFile(out, "w") as changed:
        for part in file.infolist():
            content = changes.get(part.filename, file.read(part.filename))
            if content is not None:
                changed.writestr(part.filename, content)
    return out.getvalue()


def with_content(data: bytes, change) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        content = json.loads(file.read(CONTENT))
    change(content)
    return rewritten(data, {CONTENT: json.dumps(content).encode()})


DAMAGE = {
    "cut off": (lambda data: data[: len(data) // 2], "no landmark protocol"),
    "text": (lambda _: b"hello", "no landmark protocol"),
    "empty": (lambda _: b"", "no landmark protocol"),
    "other archive": (lambda data: rewritten(data, {CONTENT: None}), "no landmark protocol"),
    "other JSON": (lambda data: rewritten(data, {CONTENT: b"[1]"}), "no landmark protocol"),
    "later": (lambda data: with_content(data, lambda content: content.update(version=2)), "version 2"),
    "no JSON": (lambda data: rewritten(data, {CONTENT: b"{"}), "damaged"),
    "no head": (lambda data: rewritten(data, {HEAD: b"\x00" * 30}), "damaged"),
    "no template": (lambda data: rewritten(data, {"template.safetensors": None}), "damaged"),
    "no place": (
        lambda data: with_content(data, lambda content: content["landmarks"][0].update(position=[1])),
        "damaged",
    ),
    "not finite": (
        lambda data: with_content(data, lambda content: content["landmarks"][0].update(position=[1, 2, float("nan")])),
        "damaged",
    ),
    "fewer landmarks": (lambda data: with_content(data, lambda content: content["landmarks"].pop()), "damaged"),
    "no spacing": (
        lambda data: with_content(data, lambda content: content["template"].update(spacing=[0, 1, 1])),
        "damaged",
    ),
    "odd calibration": (
        lambda data: with_content(data, lambda content: content["calibration"].update(deviation=-1)),
        "damaged",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_one_sentence(begun, tmp_path, kind):
    protocol, scans = begun
    damage, words = DAMAGE[kind]
    path = tmp_path / "damaged.dflp"
    path.write_bytes(damage(contents(protocol.with_scans(scans), tmp_path)))
    with pytest.raises(InputError, match=words) as caught:
        read_protocol(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        Matcher(protocol=str(tmp_path / "none.dflp"))


def test_no_bit_of_a_file_may_change(begun, tmp_path):
    protocol, scans = begun
    data = contents(protocol.with_scans(scans), tmp_path)
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        changed = bytearray(data)
        changed[place] ^= 0x10
        (tmp_path / "changed.dflp").write_bytes(changed)
        try:
            read = read_protocol(tmp_path / "changed.dflp")
        except InputError:
            continue
        assert contents(read, tmp_path) == data  # in the archive's own padding or times


def test_what_does_not_belong_together_is_not_merged(begun, family):
    protocol, scans = begun
    _, _, targets, _ = family
    with pytest.raises(InputError, match="target0 is not the template"):
        protocol.merged(replace(protocol, template=targets[0]))
    with pytest.raises(InputError, match="different landmarks"):
        protocol.merged(replace(protocol, landmarks=LandmarkSet(tuple(protocol.landmarks)[:3])))
    with pytest.raises(InputError, match="other for vgg"):
        protocol.merged(replace(protocol, features="vgg/conv/12"))
    with pytest.raises(InputError, match="somebody has not taught this protocol"):
        protocol.with_scans(scans).without("somebody")
    with pytest.raises(InputError, match="no landmark p9"):
        protocol.with_definitions({"p9": Definition("nowhere")})


def test_the_file_places_as_the_protocol_in_memory(begun, family, tmp_path):
    protocol, scans = begun
    template, _, targets, _ = family
    contents(protocol.with_scans(scans), tmp_path)
    path = str(tmp_path / "protocol.dflp")
    matcher = Matcher(protocol=path, device="cpu")
    read = matcher.protocol
    placed = matcher.match(read.template, read.landmarks, targets[6])
    known = Matcher(taught=protocol.with_scans(scans), device="cpu")
    same = known.match(template, protocol.landmarks, targets[6])
    np.testing.assert_allclose(placed.landmarks.positions, same.landmarks.positions, atol=1e-5)
    report = placed.report()["protocol"]
    assert (report["file"], report["taught_by"], len(report["sha256"])) == (path, 5, 64)
    with pytest.raises(InputError, match="leave out network and patch_size"):
        Matcher(protocol=path, network="vgg19-3d-random", patch_size=9, search="guided")
