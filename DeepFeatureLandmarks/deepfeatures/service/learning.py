"""The file of a landmark protocol, as the worker reads and writes it: its summary, a scan more, a scan less."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfeatures.errors import InputError
from deepfeatures.matching.learning.protocol import Protocol, begin_protocol
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.matching.teaching import teach
from deepfeatures.pipelines import learning as files
from deepfeatures.pipelines.protocol_update import update_protocol

if TYPE_CHECKING:
    from deepfeatures.data.landmarks import LandmarkSet
    from deepfeatures.data.volume import Volume
    from deepfeatures.matching import Matcher


def describe(path: Path) -> dict[str, Any]:
    """What people read of a protocol, as plain data.

    Returns:
        `summary` as `Protocol.summary` has it, `keys` (of the scans, in their order), and `definitions`: by name of the
        landmark `text`, `link` and `picture` (base64 of PNG or JPEG, empty where there is none).

    Raises:
        InputError: There is no such file, or it is no protocol.
    """
    return _content(read_protocol(path))


def learn(
    path: Path,
    matcher: Matcher,
    template: Volume,
    landmarks: LandmarkSet,
    scan: Volume,
    points: LandmarkSet,
    *,
    name: str,
    corrected: Collection[str],
) -> dict[str, Any]:
    """Teach the protocol of a file one scan; a scan that it knows is taught anew.

    Args:
        path: Made of template and landmarks where there is no such file.
        matcher: With the features of the protocol; what it has learnt does not count.
        template: That of the protocol, as are the landmarks.
        landmarks: See `template`.
        scan: In which a person has accepted or corrected points.
        points: Those, and no others.
        name: Of the scan.
        corrected: Names of the points that the person has moved or made.

    Returns:
        What `describe` returns, and `key`: of the scan.

    Raises:
        InputError: Template or landmarks are not those of the protocol, another scan has the name, or the scan cannot
            teach anything.
    """
    if path.exists():
        protocol = read_protocol(path)
        protocol.numbers_of(template, landmarks)  # refuses others than its own
    else:
        protocol = begin_protocol(template, landmarks, matcher.features_key)
    known = replace(protocol, template=template)  # the matcher has encoded this one already
    taught = teach(matcher, known, scan, points, name=name, corrected=corrected)

    def with_scan(current: Protocol | None) -> Protocol:
        latest = files.continued(current, protocol, path)
        if any(one.name == name and one.key != taught.key for one in latest.scans):
            raise InputError(
                f"Another scan named {name} has taught the protocol; rename this one, or forget that one first."
            )
        return latest.with_scan(taught)

    return {**_content(update_protocol(path, with_scan)), "key": taught.key}


def forget(path: Path, name: str) -> dict[str, Any]:
    """Write the protocol of a file as if it had never been taught a scan.

    Args:
        path: Of the file.
        name: Of the scan, or its key.

    Returns:
        What `describe` returns.

    Raises:
        InputError: There is no such file, or no such scan in it.
    """
    return _content(files.forget(path, [name]))


def _content(protocol: Protocol) -> dict[str, Any]:
    definitions = {
        name: {
            "text": one.text,
            "link": one.link,
            "picture": base64.b64encode(one.picture or b"").decode(),
        }
        for name, one in protocol.definitions.items()
    }
    keys = [scan.key for scan in protocol.scans]
    return {"summary": protocol.summary(), "keys": keys, "definitions": definitions}
