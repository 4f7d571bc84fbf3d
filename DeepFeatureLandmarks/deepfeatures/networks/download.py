"""Weights from the address that the catalog names: checked, resumed where a download was cut, and then imported."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, importers
from deepfeatures.networks.weight_store import downloads_folder

ATTEMPTS = 4  # a connection may be cut so often less one
TIMEOUT_S = (30, 60)  # to connect, and between two pieces
PIECE_BYTES = 1 << 16  # what a cut loses at most

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and with all of them, `None` where the server does not say."""


def fetch_weights(network: str, progress: Progress) -> Path:
    """Download the weights of a network, check them, and keep them.

    A download that is cut goes on where it stopped, in this call or in the next one. Its checksum, where the publisher
    states one, its names and its shapes are checked; the downloaded file itself does not stay.

    Returns:
        The stored file.

    Raises:
        InputError: No address is known, the network or the server cannot be reached, or the file is not what it
            should be.
    """
    source = catalog.source_of(network)
    if catalog.weight_key_of(network) is None:
        raise InputError(f"{network} needs no weights: use it as it is.")
    if source is None:
        raise InputError(
            f"No public address of the weights of {network} is known: where you have the file, keep it with"
            f" `deepfeatures weights import {network} FILE`."
        )
    for package in ("pooch", *(["h5py"] if source.file.endswith(".h5") else [])):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"Fetching these weights needs {package}: install it with `pip install {package}`.")
    file = _download(source, progress)
    try:
        return importers.import_weights(network, file, origin={"url": source.url})
    finally:  # a file that does not fit must not be taken for a good one by the next call
        file.unlink()


def _download(source: catalog.Source, progress: Progress) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(
            source.url, source.checksum, source.file, downloads_folder(), downloader=ResumingDownloader(progress)
        )
    except requests.RequestException as error:
        raise InputError(
            f"{source.url} could not be read to its end ({_reason(error)}); check the connection and give the command"
            " again, it goes on where it stopped."
        ) from error
    except ValueError as error:
        raise InputError(
            f"What {source.url} gave is not the file whose checksum is {source.checksum}; try again later, or bring the"
            " file with `deepfeatures weights import`."
        ) from error
    except OSError as error:
        raise InputError(
            f"{downloads_folder()} cannot be written to ({error.strerror}); make room or set DEEPFEATURES_WEIGHTS to"
            " another folder."
        ) from error
    return Path(path)


class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier download was cut.

    What has come lies in `<name>.part`, with the server's name of that version of the file (its ETag) beside it. The
    rest is asked for only if the server still has that version; otherwise the download starts anew.
    """

    def __init__(self, progress: Progress):
        self._progress = progress

    def __call__(self, url: str, output_file: str, pooch_: object) -> None:
        """Download `url` to `output_file`, a temporary file that pooch checks and moves to its place."""
        import requests

        part = downloads_folder() / f"{url.rsplit('/', 1)[-1]}.part"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._get_rest(url, part)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == ATTEMPTS:
                    raise
        part.replace(output_file)
        _version_file(part).unlink(missing_ok=True)

    def _get_rest(self, url: str, part: Path) -> None:
        import requests

        here = part.stat().st_size if part.exists() else 0
        version = _version_file(part).read_text(encoding="utf-8") if _version_file(part).exists() else ""
        # unpacked pieces would not fit the byte numbers that the next request counts in
        headers = {"Accept-Encoding": "identity"}
        if here and version:
            headers |= {"Range": f"bytes={here}-", "If-Range": version}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()  # nothing is left to send, or it is another file: the checksum of all of it decides
                return self._get_rest(url, part)
            answer.raise_for_status()
            goes_on = answer.status_code == requests.codes.partial_content
            here = here if goes_on else 0
            length = answer.headers.get("Content-Length")
            whole = here + int(length) if length else None
            _version_file(part).write_text(answer.headers.get("ETag", ""), encoding="utf-8")
            with part.open("ab" if goes_on else "wb") as file:
                for piece in answer.iter_content(PIECE_BYTES):
                    file.write(piece)
                    here += len(piece)
                    self._progress(here, whole)
        if whole is not None and here < whole:
            raise requests.ConnectionError(f"cut after {here} of {whole} bytes")
        return None


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return "the connection failed or was cut"
