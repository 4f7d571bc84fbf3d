"""Sessions: separate, found again after a reload, cancelled, gone with their files when they end."""

import contextlib
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from web_visitors import Server

TOKEN = "a+token/of=all&kinds#of %41letters"  # those of base64 among them


@pytest.fixture
def pair(tmp_path) -> dict[str, str]:
    """Paths of two small heads and the landmarks of one, by what they are opened as."""
    from deepfeatures.io.landmark_files import write_landmarks
    from deepfeatures.io.volume_files import write_volume
    from deepfeatures.phantom import make_pair

    template, landmarks, target, _ = make_pair(48)
    write_volume(template, tmp_path / "head.nii.gz")
    write_landmarks(landmarks, tmp_path / "head.mrk.json")
    write_volume(target, tmp_path / "other.mha")
    names = {"template": "head.nii.gz", "landmarks": "head.mrk.json", "target": "other.mha"}
    return {role: str(tmp_path / name) for role, name in names.items()}


def test_cancel_leaves_everything_as_it_was(visitor):
    visitor.open_demo()
    visitor.be_slow()
    visitor.button("Place landmarks").click()
    visitor.wait_until("state('is_busy')")
    visitor.picture("1-running")
    began = time.perf_counter()
    visitor.button("Cancel").click()
    visitor.wait_until("!state('is_busy')", 10)
    assert time.perf_counter() - began < 3
    assert visitor.state("rows") == []
    assert visitor.state("interim_updates") == 0
    visitor.page.get_by_text("Cancelled; nothing was changed.").wait_for()
    visitor.picture("2-cancelled")
    visitor.button("Best measured").click()
    visitor.place()  # and the next run works
    assert len(visitor.state("rows")) == 18


def test_a_run_before_the_networks_are_known_can_be_cancelled_and_they_come_nevertheless(visitors, pair):
    server = Server("--template", pair["template"], "--landmarks", pair["landmarks"], "--target", pair["target"])
    try:
        for wait in ("state('is_busy')", "state('networks').length > 0"):  # before and after they have come
            visitor = visitors(server.url)
            visitor.wait_until("state('validation_message') == '' && !state('is_loading')")
            visitor.button("As in the paper").click()
            visitor.button("Place landmarks").click()
            visitor.wait_until(wait)
            assert visitor.state("is_busy")
            visitor.button("Cancel").click()
            visitor.wait_until("!state('is_busy')", 10)
            visitor.wait_until("state('networks').length > 0 && state('validation_message') == ''")
    finally:
        server.stop()


def test_a_double_click_places_once_and_is_no_error(visitor):
    visitor.open_demo()
    visitor.button("Place landmarks").dblclick()
    visitor.wait_until("state('rows').length == 18 && !state('is_busy')")
    assert visitor.state("message") == ""


def test_reload_amid_a_run_finds_it_again(visitor):
    visitor.open_demo()
    visitor.be_slow()
    visitor.button("Place landmarks").click()
    visitor.wait_until("state('is_busy')")
    visitor.page.reload()
    visitor.page.locator(".workspace").wait_for()
    visitor.wait_until("state('landmarks').length == 18")
    assert visitor.state("target__SideState__title") == "target"
    visitor.wait_until("state('is_busy')")
    visitor.picture("1-reloaded")
    visitor.button("Cancel").click()
    visitor.wait_until("!state('is_busy')", 10)


def test_an_upload_that_a_reload_has_cut_off_is_not_shown_any_more(visitor, tmp_path):
    scan = tmp_path / "scan.nii"
    scan.write_bytes(bytes(4_000_000))
    visitor.open_demo()
    network = visitor.page.context.new_cdp_session(visitor.page)
    network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )
    visitor.choose_volume("target", scan)
    visitor.wait_until("state('target__SideState__upload') > 0", 20)
    network.detach()
    visitor.page.reload()
    visitor.page.locator(".workspace").wait_for()
    visitor.wait_until("state('landmarks').length == 18")
    assert visitor.state("target__SideState__upload") == -1
    assert visitor.page.locator(".side-target .head .v-progress-circular").count() == 0


def test_a_lost_connection_comes_back(visitor):
    visitor.page.add_init_script(KEEP_SOCKETS)
    visitor.page.reload()
    visitor.page.locator(".workspace").wait_for()
    visitor.open_demo()
    before = visitor.page.evaluate("window.sockets.length")
    visitor.page.evaluate("window.sockets.at(-1).close()")
    visitor.page.wait_for_function(f"window.sockets.length > {before} && window.sockets.at(-1).readyState == 1")
    visitor.button("Place landmarks").click()
    visitor.wait_until("!state('is_busy') && state('rows').length == 18")


KEEP_SOCKETS = """
  window.sockets = [];
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...given) { super(...given); window.sockets.push(this); }
  };
"""


def test_wrong_files_are_refused_in_words(visitor, tmp_path):
    visitor.open_demo()
    text = tmp_path / "notes.txt"
    text.write_text("not a volume")
    visitor.choose_volume("template", text)
    visitor.page.get_by_text("notes.txt is not a volume").wait_for()
    visitor.picture("1-not-a-volume")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b no volume at all")
    visitor.choose_volume("template", broken)
    visitor.page.get_by_text("broken.nii.gz is not a volume").wait_for()
    assert visitor.state("template__SideState__title") == "template"  # what was open stays
    visitor.picture("2-broken")
    assert str(tmp_path) not in visitor.state("message")
    visitor.place()  # the page lives on


def test_two_browsers_have_scenes_of_their_own(visitor, visitors, server):
    one, other = visitor, visitors(server.url)
    one.open_demo()
    assert other.state("template__SideState__title") == ""
    assert other.state("landmarks") == []
    one.picture("1-one")
    other.picture("2-other")


def test_token_paths_at_the_start_and_nothing_left_behind(visitors, pair, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(private))
        server = Server(
            *("--token", TOKEN, "--template", pair["template"]),
            *("--landmarks", pair["landmarks"], "--target", pair["target"]),
        )
    try:
        bare = server.url.split("?")[0]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(bare)
        assert refused.value.code == 401
        visitor = visitors(server.url)
        visitor.wait_until("state('validation_message') == '' && state('landmarks').length == 18")
        assert "token" not in visitor.page.url
        visitor.picture("1-opened")
        folders = [folder for folder in private.iterdir() if folder.is_dir()]
        assert folders
        if os.name == "posix":
            assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
    finally:
        server.stop()
    assert [entry.name for entry in private.iterdir() if entry.name.startswith("deepfeatures")] == []


def test_a_file_that_cannot_be_opened_at_the_start_is_named_though_others_follow(visitors, pair):
    whole = Path(pair["template"])
    cut = whole.with_name("cut.nii.gz")
    cut.write_bytes(whole.read_bytes()[:5000])
    server = Server("--template", str(cut), "--landmarks", pair["landmarks"], "--target", pair["target"])
    try:
        visitor = visitors(server.url)
        visitor.wait_until("state('target__SideState__title') == 'other' && !state('is_loading')")
        visitor.page.get_by_text("cut.nii.gz is cut short or damaged").wait_for()
        visitor.open_demo()
        assert visitor.state("message") == ""
    finally:
        server.stop()


def test_what_a_killed_session_held_goes_too(visitors, pair, tmp_path):
    psutil = pytest.importorskip("psutil")
    private = tmp_path / "private"
    private.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(private))
        server = Server()
    try:
        visitor = visitors(server.url)
        visitor.choose("Open a volume", pair["template"], side=".side-template")
        visitor.wait_until("state('template__SideState__title') == 'head'")
        visitor.choose("Open a volume", pair["target"], side=".side-target")
        while len(list(private.rglob("*.npy"))) < 2:  # the voxels of both, for the worker
            time.sleep(0.1)
        assert list(private.rglob("head.nii.gz"))
        (session,) = psutil.Process(server.process.pid).children()
        for process in (*session.children(), session):  # the worker first, which would clean up after the session
            process.kill()
    finally:
        server.stop()
    assert [*private.rglob("head.nii.gz"), *private.rglob("*.npy")] == []


def test_foreign_pages_and_other_users_of_the_machine_are_kept_out(server):
    def status(url: str, **headers) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status(server.url, Host="evil.example") == 403
    assert status(server.url, Origin="http://evil.example") == 403
    assert status(f"{server.url}upload/template", Origin="http://evil.example") == 403
    for port in listening_ports():  # the session's own door opens with the launcher's key only
        if f":{port}/" not in server.url:
            assert status(f"http://127.0.0.1:{port}/index.html") in (403, None)


def listening_ports() -> list[int]:
    """Ports of sessions that descend from this process; none where the system does not tell."""
    found = []
    with contextlib.suppress(OSError):
        inodes = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                inodes[fields[9]] = int(fields[1].split(":")[1], 16)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"DeepFeatureLandmarksWeb.server.session" in (process / "cmdline").read_bytes():
                    for handle in (process / "fd").iterdir():
                        inode = str(handle.readlink()).removeprefix("socket:[").removesuffix("]")
                        if inode in inodes:
                            found.append(inodes[inode])
    return found
