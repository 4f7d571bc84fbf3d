"""`weights list | fetch | verify | remove`, with a server on this computer alone."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from deepfeatures.cli.main import main
from deepfeatures.networks import catalog, download, vgg, weight_store, weights

NETWORK = "vgg19-3d-pseudo"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


@pytest.fixture
def content(folder) -> bytes:
    """Weights of VGG-19's first two convolutions."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, before in (("conv1_1", 3), ("conv1_2", 64)):
        arrays[f"block{name[4]}_conv{name[6]}.kernel"] = rng.normal(size=(3, 3, before, 64)).astype("float32")
        arrays[f"block{name[4]}_conv{name[6]}.bias"] = rng.normal(size=64).astype("float32")
    np.savez(folder / "vgg.npz", **arrays)
    return (folder / "vgg.npz").read_bytes()


class Server:
    """Serves one file; cuts the connection after some bytes, as often as asked; notes the ranges asked for."""

    def __init__(self, content: bytes):
        self.content, self.version, self.status = content, '"1"', 200
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.ranges.append(self.headers.get("Range"))
                if server.status != 200:
                    return self.send_error(server.status)
                start = 0
                if server.ranges[-1] and self.headers.get("If-Range") == server.version:
                    start = int(server.ranges[-1].removeprefix("bytes=").removesuffix("-"))
                body = server.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("ETag", server.version)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
                return self.wfile.flush()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/vgg.npz"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(content, monkeypatch):
    """A server that has the weights, and a catalog that names it."""
    pytest.importorskip("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PIECE_BYTES", 1000)
    server = Server(content)
    source = catalog.Source(server.url, "vgg.npz", f"sha256:{hashlib.sha256(content).hexdigest()}")
    monkeypatch.setitem(catalog.ENTRIES, NETWORK, replace(catalog.ENTRIES[NETWORK], source=source))
    yield server
    server.http.shutdown()
    server.http.server_close()


def without_checksum(monkeypatch):
    entry = catalog.ENTRIES[NETWORK]
    monkeypatch.setitem(catalog.ENTRIES, NETWORK, replace(entry, source=replace(entry.source, checksum=None)))


def left_over():
    """What lies in the folder of downloads."""
    folder = weight_store.downloads_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_fetched_weights_are_kept_and_the_download_is_not(server):
    assert main(["weights", "fetch", NETWORK]) == 0
    assert catalog.describe(NETWORK).weights == "partly available (to conv1_2)"
    assert weights.record("vgg19-2d")["origin"] == {"url": server.url}
    assert left_over() == []


def test_progress_counts_every_byte(server, content):
    steps = []
    download.fetch_weights(NETWORK, lambda here, whole: steps.append((here, whole)))
    assert steps[-1] == (len(content), len(content))
    assert steps == sorted(steps)


def test_a_cut_download_goes_on_where_it_stopped(server):
    server.cuts = [50_000, 20_000]
    assert main(["weights", "fetch", NETWORK]) == 0
    assert server.ranges == [None, "bytes=50000-", "bytes=70000-"]


def test_the_next_command_goes_on_where_the_last_one_gave_up(server, capsys):
    server.cuts = [10_000] * download.ATTEMPTS
    assert main(["weights", "fetch", NETWORK]) == 2
    message = capsys.readouterr().err
    assert "give the command again" in message
    assert message.count("\n") == 1
    assert catalog.describe(NETWORK).weights == "missing"
    assert main(["weights", "fetch", NETWORK]) == 0
    assert server.ranges[-1] == f"bytes={10_000 * download.ATTEMPTS}-"


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, monkeypatch):
    server.cuts = [10_000] * download.ATTEMPTS
    assert main(["weights", "fetch", NETWORK]) == 2
    server.version = '"2"'
    assert main(["weights", "fetch", NETWORK]) == 0


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, content, capsys):
    server.content = content[:-1] + bytes([content[-1] ^ 1])
    assert main(["weights", "fetch", NETWORK]) == 2
    message = capsys.readouterr().err
    assert "checksum" in message
    assert message.count("\n") == 1
    assert catalog.describe(NETWORK).weights == "missing"
    assert left_over() == []


def test_a_wrong_file_without_checksum_is_found_by_the_import_and_fetched_again_next_time(
    server, content, monkeypatch, capsys
):
    without_checksum(monkeypatch)
    server.content = b"an error page"
    assert main(["weights", "fetch", NETWORK]) == 2
    assert "cannot be read" in capsys.readouterr().err
    server.content, server.version = content, '"2"'
    assert main(["weights", "fetch", NETWORK]) == 0


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses_is_named_in_one_sentence(server, status, capsys):
    server.status = status
    assert main(["weights", "fetch", NETWORK]) == 2
    message = capsys.readouterr().err
    assert f"{server.url} could not be read to its end (the server answered {status}" in message
    assert message.count("\n") == 1


def test_no_server_is_one_sentence(server, capsys):
    server.http.shutdown()
    server.http.server_close()
    assert main(["weights", "fetch", NETWORK]) == 2
    assert "the connection failed" in capsys.readouterr().err


def test_a_network_without_public_address_points_to_import(capsys):
    assert main(["weights", "fetch", "vgg19-3d-student"]) == 2
    assert "deepfeatures weights import vgg19-3d-student FILE" in capsys.readouterr().err
    assert main(["weights", "fetch", "mind"]) == 2
    assert "needs no weights" in capsys.readouterr().err


def test_every_published_source_has_an_address_and_a_name_that_the_importer_reads():
    from deepfeatures.networks.importers import WEIGHT_FILES

    found = [stored for stored in weight_store.all_stored_weights() if stored.source]
    assert {stored.name for stored in found} == {"vgg19-2d", "brainage-resnet-3d"}
    for stored in found:
        assert stored.source.url.startswith("https://")
        assert "." + stored.source.file.rsplit(".", 1)[1] in WEIGHT_FILES[stored.name][1]


def test_list_shows_what_is_there_and_how_to_get_the_rest(server, capsys):
    assert main(["weights", "list"]) == 0
    assert f"deepfeatures weights fetch {NETWORK}" in capsys.readouterr().out
    main(["weights", "fetch", NETWORK])
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    shown = capsys.readouterr().out
    path = weights.find("vgg19-2d")
    for text in ("to conv1_2", weights.sha256(path)[:12], "CC BY 4.0", str(weights.weights_folder())):
        assert text in shown
    assert "deepfeatures weights import resnet-3d-student FILE" in shown


def test_list_bears_a_note_that_cannot_be_read(server, capsys):
    main(["weights", "fetch", NETWORK])
    weights.find("vgg19-2d").with_suffix(".json").write_text("[")
    assert main(["weights", "list"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_verify_finds_a_changed_and_a_truncated_file(server, capsys):
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out.startswith("cifl: whole")  # it comes with the package
    main(["weights", "fetch", NETWORK])
    assert main(["weights", "verify"]) == 0
    assert "vgg19-2d: whole" in capsys.readouterr().out
    path = weights.find("vgg19-2d")
    good = path.read_bytes()
    for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:1000]):
        path.write_bytes(bad)
        assert main(["weights", "verify"]) == 2
        shown = capsys.readouterr()
        assert "vgg19-2d: damaged" in shown.out
        assert "import the weights again" in shown.err
        assert shown.err.count("\n") == 1


def test_remove_asks_first_and_removes_only_what_was_named(server, capsys, monkeypatch):
    main(["weights", "fetch", NETWORK])
    monkeypatch.setattr("typer.confirm", lambda *_, **__: (_ for _ in ()).throw(__import__("typer").Abort()))
    assert main(["weights", "remove", NETWORK]) == 130
    assert weights.find("vgg19-2d")
    assert main(["weights", "remove", "vgg19-3d-student", "--yes"]) == 0
    assert "Nothing to remove" in capsys.readouterr().out
    assert weights.find("vgg19-2d")
    assert main(["weights", "remove", NETWORK, "--yes"]) == 0
    assert weights.find("vgg19-2d") is None


def test_remove_all_empties_the_folder_but_leaves_files_of_others(server, folder):
    main(["weights", "fetch", NETWORK])
    server.cuts = [10_000] * download.ATTEMPTS
    main(["weights", "fetch", NETWORK])
    (weights.weights_folder() / "mine.txt").write_text("keep")
    assert left_over()
    assert main(["weights", "remove", "--all", "--yes"]) == 0
    assert [path.name for path in weights.weights_folder().iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("arguments", [[], [NETWORK, "--all"], ["no-such-network", "--yes"]])
def test_remove_says_what_it_wants(arguments, capsys):
    assert main(["weights", "remove", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_first_layers_of_a_student_are_enough(folder):
    from safetensors.torch import save_file

    from deepfeatures.networks.importers import import_weights

    network = vgg.Vgg19("vgg19-3d-student", "conv1_2")
    tensors = {f"{part}.{key}": value for part in vgg.up_to("conv1_2") for key, value in
               network.parts[part].state_dict().items()}  # fmt: skip
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "student.safetensors")
    import_weights("vgg19-3d-student", folder / "student.safetensors")
    assert catalog.describe("vgg19-3d-student").weights == "partly available (to conv1_2)"
