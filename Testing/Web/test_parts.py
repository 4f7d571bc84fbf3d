"""The parts that need no browser."""

import asyncio
from contextlib import closing

import numpy as np
import pytest
import SimpleITK as sitk

from DeepFeatureLandmarksWeb.server.access_control import Address, is_same_origin
from DeepFeatureLandmarksWeb.views.linked_navigation import PointMap
from deepfeatures.errors import InputError

ZERO = np.zeros(3)
SECRET = "sixteen letters!"


def turned(points: np.ndarray) -> np.ndarray:
    turn = np.array([[0.0, -1.1, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return points @ turn.T + (5, -3, 40)


def test_a_linear_map_is_found_and_inverted():
    points = np.random.default_rng(0).uniform(-50, 50, (9, 3))
    there = PointMap.fit(points, turned(points), ZERO, ZERO)
    back = PointMap.fit(turned(points), points, ZERO, ZERO)
    place = np.array([12.0, -30.0, 8.0])
    assert np.allclose(there(place), turned(place[None])[0], atol=1e-9)
    assert np.allclose(back(there(place)), place, atol=1e-9)


def test_landmarks_come_to_lie_on_each_other_whatever_their_number():
    random = np.random.default_rng(1)
    for count in (1, 2, 3, 4, 20):
        source, target = random.uniform(-50, 50, (2, count, 3))
        link = PointMap.fit(source, target, ZERO, ZERO)
        for here, there in zip(source, target, strict=True):
            assert np.allclose(link(here), there, atol=1e-6)
            assert np.linalg.norm(link(here + 1e-3) - there) < 1  # and its surroundings with it


def test_without_landmarks_the_middles_are_aligned():
    missing = np.full((2, 3), np.nan)
    link = PointMap.fit(missing, missing, np.array([1.0, 2, 3]), np.array([10.0, 20, 30]))
    assert np.allclose(link(np.array([2.0, 2, 3])), (11, 20, 30))


def test_flat_landmarks_leave_the_third_direction_alone():
    points = np.random.default_rng(2).uniform(-50, 50, (8, 3)) * (1, 1, 0)
    link = PointMap.fit(points, points * (1.2, 0.8, 1), ZERO, ZERO)
    assert np.allclose(link(np.array([0.0, 0.0, 30.0])) - link(ZERO), (0, 0, 30), atol=1e-6)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "scanner.example"])
def test_other_hosts_demand_a_token(host):
    with pytest.raises(InputError, match="--token"):
        Address(host)
    with pytest.raises(InputError, match="shorter"):
        Address(host, token="short")
    address = Address(host, token=SECRET)
    assert address.admits(SECRET)
    assert not address.admits("another " + SECRET)
    assert not address.admits(None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_needs_none_but_answers_to_its_own_name_only(host):
    address = Address(host)
    assert address.admits(None)
    assert address.is_called("localhost:8750")
    assert address.is_called("[::1]:8750")
    assert not address.is_called("evil.example:8750")


def test_origins():
    assert is_same_origin(None, "a:1")
    assert is_same_origin("http://a:1", "a:1")
    assert not is_same_origin("http://b:1", "a:1")
    assert not is_same_origin("null", "a:1")


def test_names_of_uploads_cannot_leave_their_folder():
    uploads = pytest.importorskip("DeepFeatureLandmarksWeb.controllers.uploads", exc_type=ImportError)
    assert uploads.safe_name("../../etc/passwd") == "passwd"
    assert uploads.safe_name("C:\\scans\\head 1.nii.gz") == "head 1.nii.gz"
    assert uploads.safe_name('a"b\n$(x).nrrd') == "a_b__(x).nrrd"
    assert uploads.safe_name("..") == "file"
    long = uploads.safe_name("头" * 116 + ".nii.gz")
    assert len(long.encode()) <= 120 and long.endswith("头.nii.gz")
    with pytest.raises(InputError):
        uploads.kind_of("../x")


def test_radii_are_balls_in_the_given_views():
    pytest.importorskip("trame_slicer")
    from slicer import vtkMRMLScene

    from DeepFeatureLandmarksLib.scene.uncertainty_overlay import NAME, UncertaintyOverlay

    scene = vtkMRMLScene()

    def style(node):
        node.GetDisplayNode().SetViewNodeIDs(["vtkMRMLSliceNodeTarget"])

    overlay = UncertaintyOverlay(scene, (0.9, 0.6, 0.0), style)
    overlay.show([((10.0, -20.0, 30.0), 2.5)])
    node = scene.GetFirstNodeByName(NAME)
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    assert np.allclose(bounds, (7.5, 12.5, -22.5, -17.5, 27.5, 32.5), atol=0.05)
    assert node.GetDisplayNode().GetVisibility2D()
    assert list(node.GetDisplayNode().GetViewNodeIDs()) == ["vtkMRMLSliceNodeTarget"]
    overlay.show([])
    assert node.GetPolyData().GetNumberOfPoints() == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1


def test_the_touched_view_is_drawn_at_once_and_the_others_later_and_once():
    render_scheduler = pytest.importorskip("DeepFeatureLandmarksWeb.views.render_scheduler", exc_type=ImportError)
    scheduler = render_scheduler.RenderScheduler()
    drawn = []
    views = {}
    for name in ("touched", "other"):
        views[name] = render_scheduler.ScheduledRendering(scheduler, lambda name=name: drawn.append(name))
        views[name].set_abstract_view(name)

    async def scroll():
        views["other"].schedule_render()
        assert drawn == ["other"]  # nothing has been touched yet
        scheduler.active = "touched"
        for _ in range(3):
            views["other"].schedule_render()
            views["touched"].schedule_render()
        assert drawn == ["other"] + 3 * ["touched"]
        scheduler.hidden.add("other")
        await asyncio.sleep(2 * render_scheduler.DELAY_S)
        views["other"].schedule_render()
        await asyncio.sleep(2 * render_scheduler.DELAY_S)

    asyncio.run(scroll())
    assert drawn == ["other"] + 3 * ["touched"] + ["other"]


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """A function that sends files, `(name, content)` each, to a server which keeps 1000 bytes of landmarks.

    It returns the name of what would be opened, or why nothing is.
    """
    uploads = pytest.importorskip("DeepFeatureLandmarksWeb.controllers.uploads", exc_type=ImportError)
    aiohttp, test_utils = pytest.importorskip("aiohttp"), pytest.importorskip("aiohttp.test_utils")
    monkeypatch.setitem(uploads.MAX_BYTES, "landmarks", 1000)

    async def answer(request):
        try:
            return aiohttp.web.Response(
                text=(await uploads.receive(request, request.match_info["role"], tmp_path)).name
            )
        except InputError as error:
            return aiohttp.web.Response(status=400, text=str(error))

    async def send(role, files):
        app = aiohttp.web.Application()
        app.router.add_post("/{role}", answer)
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("note", "no file")
        for name, content in files:
            form.add_field("file", content, filename=name)
        async with test_utils.TestClient(test_utils.TestServer(app)) as client:
            return await (await client.post(f"/{role}", data=form)).text()

    return lambda role, *files: asyncio.run(send(role, files))


DICOM = bytes(128) + b"DICM"  # as its files begin
README = "README.txt", b"This disc holds the pictures of a patient. " * 9


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (["landmarks", ("a.fcsv", bytes(2000))], "MB were sent"),
        (["landmarks", ("a.fcsv", b"1"), ("b.fcsv", b"1")], "more than 1 files"),
        (["landmarks", ("a.exe", b"1")], "a.exe is not landmarks"),
        (["landmarks", ("a.nii.gz", b"1")], "a.nii.gz is not landmarks"),
        (["landmarks"], "no file arrived"),
        (["target", README], "README.txt is not a volume (NIfTI, NRRD, MHA or DICOM); choose another file"),
        (["target", ("a.mhd", b"1")], "a.mhd is not a volume"),
        (["target", README, ("autorun.inf", b"[autorun]")], "none of the 2 files is a volume"),
        (["target", ("a.nii", b"1"), ("b.nrrd", b"1")], "2 volumes were sent; send one file or one DICOM folder"),
        (["protocol", ("a.nii", b"1")], "a.nii is not a landmark protocol (.dflp); choose another file"),
        (["protocol", ("a.dflp", b"1"), ("b.dflp", b"1")], "more than 1 files"),
        (["anything", ("a.nii", b"1")], "nothing of that kind can be uploaded"),
    ],
)
def test_uploads_that_are_too_much_or_of_a_wrong_kind_are_refused_and_not_kept(sent, reason, upload, tmp_path):
    assert reason in upload(*sent)
    assert list(tmp_path.iterdir()) == []
    assert upload("landmarks", ("a.fcsv", bytes(1000))) == "a.fcsv"


@pytest.mark.parametrize(
    ("sent", "opened"),
    [
        ([("a.NRRD", b"1"), README], "a.NRRD"),
        ([("scan0.MR", DICOM)], "scan0.MR"),
        ([README, ("IM1", DICOM), ("DICOMDIR", DICOM), ("report.json", b"{}")], "IM1"),
        ([("IM1", DICOM), ("IM2", b"\x08\x00\x05\x00CS"), ("a.nii", b"1"), ("autorun.inf", b"[")], "DICOM series"),
        ([("IM1", DICOM), ("IM1", DICOM)], "DICOM series"),
    ],
)
def test_what_is_no_dicom_in_the_folder_of_a_series_is_skipped(sent, opened, upload, tmp_path):
    assert upload("target", *sent) == opened
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not kept & {"README.txt", "DICOMDIR", "report.json", "autorun.inf"}


def test_an_upload_that_the_disk_cannot_take_is_refused_in_words(upload, tmp_path):
    resource = pytest.importorskip("resource", reason="only Unix limits the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        answer = upload("landmarks", ("a.fcsv", bytes(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer == "the server cannot keep the file (File too large); free some room there"
    assert list(tmp_path.iterdir()) == []


def test_the_second_set_cannot_be_dragged(tmp_path):
    pytest.importorskip("trame_slicer")
    from trame_server import Server

    from DeepFeatureLandmarksWeb.app import App
    from DeepFeatureLandmarksWeb.controllers.loading_controller import LoadingController
    from deepfeatures.data.landmarks import Landmark, LandmarkSet

    async def locks() -> dict[str, bool]:
        with closing(App(Server(), tmp_path, {})) as app:
            for role in ("landmarks", "reference"):
                LoadingController(app.context).show_landmarks(role, LandmarkSet((Landmark("A", (0.0, 0.0, 0.0)),)))
            return {
                "landmarks": app.context.template_landmarks.GetLocked(),
                "reference": app.context.reference.GetLocked(),
            }

    assert asyncio.run(locks()) == {"landmarks": False, "reference": True}


def test_what_is_chosen_on_the_page_becomes_the_settings(tmp_path):
    pytest.importorskip("trame_slicer")
    from trame_server import Server

    from DeepFeatureLandmarksWeb.app import App
    from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
    from deepfeatures.matching.settings import MatchSettings

    with closing(App(Server(), tmp_path, {})) as app:
        state = app.context.state
        runs = PlaceController(app.context)
        assert runs.settings == MatchSettings()
        state.preset, state.network, state.layer, state.patch_size = "own", "mind", "ssc_r1_d2", "20"
        state.intensity, state.device = "rank", "cpu"
        own = MatchSettings("mind", "ssc_r1_d2", 20, search="dense", intensity="rank", device="cpu")
        assert runs.settings == own


def test_a_volume_too_large_for_the_memory_is_read_coarser_and_a_note_says_so(tmp_path, monkeypatch):
    pytest.importorskip("trame_slicer")
    from trame_server import Server

    from DeepFeatureLandmarksWeb.app import App
    from DeepFeatureLandmarksWeb.controllers.loading_controller import LoadingController
    from deepfeatures.io import downsampled_reading

    path = tmp_path / "long.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).random((20, 30, 40), np.float32)), path)
    with closing(App(Server(), tmp_path, {})) as app:
        context = app.context
        asyncio.run(LoadingController(context).open("target", path))
        assert context.target.volume.GetSpacing() == (1, 1, 1) and context.state.target.notes == []
        monkeypatch.setattr(
            downsampled_reading,
            "memory_available",
            lambda: 20 * 15 * 10 * downsampled_reading.VOXEL_BYTES * downsampled_reading.WORKING_SPACE,
        )
        asyncio.run(LoadingController(context).open("target", path))
        assert context.target.volume.GetSpacing() == (2, 2, 2)
        assert context.state.target.notes == ["Too large for the memory: read at 2 × 2 × 2 mm instead of 1 × 1 × 1 mm."]
        assert context.state.message == ""
        assert context.state.target.facts.startswith("20 × 15 × 10 voxels")
