"""The study: a small grid on small cases, stopped and gone on with; statistics against numbers known by hand."""

import base64
import json
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch

from deepfeatures import __version__
from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume

pytest.importorskip("pandas")
pytest.importorskip("scipy")
pytest.importorskip("statsmodels")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

import pandas as pd
from scipy import stats
from scipy.ndimage import gaussian_filter

from deepfeatures.errors import InputError
from deepfeatures.evaluation import configurations, study, tables
from deepfeatures.evaluation.baselines import BASELINES, Baseline
from deepfeatures.evaluation.cases import find_cases
from deepfeatures.evaluation.dense_grid import DenseGrid
from deepfeatures.evaluation.results import Results, Study
from deepfeatures.features.extractor import Features
from deepfeatures.matching import Matcher
from deepfeatures.matching.settings import MatchSettings

POINTS = {"a": (10.0, 12.0, 15.0), "b": (18.0, 15.0, 11.0), "c": (14.0, 20.0, 9.0)}


@pytest.fixture
def folder(tmp_path):
    """Five cases of the same structures, each shifted within its grid; the last lacks a landmark."""
    generator = np.random.default_rng(0)
    whole = gaussian_filter(generator.normal(size=(40, 40, 40)), 2) * 1000
    path = tmp_path / "cases"
    path.mkdir()
    for number in range(5):
        shift = generator.integers(0, 5, size=3)  # voxels x, y, z
        x, y, z = 5 - shift
        voxels = torch.from_numpy(whole[z : z + 28, y : y + 28, x : x + 28].astype(np.float32))
        write_volume(Volume(voxels, origin=np.full(3, 10.0 * number)), path / f"case{number}.nii.gz")
        points = [
            Landmark(name, tuple(float(value) for value in np.array(at) + shift - 5 + 10.0 * number))
            for name, at in POINTS.items()
        ]
        points[2] = replace(points[2], position=None, status="missing") if number == 4 else points[2]
        write_landmarks(LandmarkSet(tuple(points)), path / f"case{number}.mrk.json")
    write_volume(Volume(torch.zeros(8, 8, 8)), path / "without_landmarks.nii.gz")
    return path


def make_study(folder, *chosen, **settings):
    first, *others = find_cases(folder)
    job = Study(tuple(chosen), (first,), tuple(others), folder.parent / "out", device="cpu", **settings)
    study.prepare(job)
    return job


def dense(network, layer, patch_size, **others):
    """A configuration of the grid that is searched densely."""
    settings = MatchSettings(network=network, layer=layer, patch_size=patch_size, search="dense", **others)
    return configurations.Configuration("grid", settings)


MIND = dense("mind", "ssc_r1_d2", 8)


def test_the_paper_has_ninety_configurations_and_those_that_cannot_be_are_marked(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path))
    paper = configurations.paper()
    assert len(set(paper)) == len({configuration.name for configuration in paper}) == 90
    chosen = [(one.settings.network, one.settings.layer, one.settings.patch_size) for one in paper]
    assert len({network for network, _, _ in chosen}) == 5
    reasons = dict(zip(chosen, (one.unavailable for one in paper), strict=True))
    assert reasons["vgg19-3d-random", "conv5_4", 12] == "the patch is too small for the layer"
    assert reasons["vgg19-3d-random", "conv5_4", 16] == ""
    assert reasons["brainage-resnet-3d", "stage1_block1_conv3", 32] == "no weights"


def computed(job, configuration=MIND):
    """Targets of the results that count, in the order of the file."""
    return [line["target"] for line in Results(job, configuration).stored]


def test_a_stopped_run_goes_on_and_computes_nothing_twice(folder):
    job = make_study(folder, MIND)
    steps = study.run_group(job, (MIND,))
    next(steps)
    next(steps)
    steps.close()
    path = Results(job, MIND).path
    whole = path.read_text()
    assert computed(job) == ["case1", "case2"]
    path.write_text(whole + '{"template": "case0", "target": "case3", "seconds": 0.1, "posit')  # killed while it wrote
    study.run(job)
    assert path.read_text().startswith(whole)
    assert computed(job) == ["case1", "case2", "case3", "case4"]
    finished = path.read_bytes()
    study.run(job)
    assert path.read_bytes() == finished


def change(folder, what, monkeypatch):
    """Something that results follow from; returns the targets whose results no longer count."""
    if what == "landmarks":
        points = read_landmarks(folder / "case0.mrk.json")
        moved = replace(points[0], position=tuple(np.add(points[0].position, (0, 0, 2)).tolist()))
        write_landmarks(replace(points, landmarks=(moved, *points.landmarks[1:])), folder / "case0.mrk.json")
    elif what == "target":
        (folder / "case2.nii.gz").write_bytes((folder / "case3.nii.gz").read_bytes())
        return ["case2"]
    elif what == "template":
        (folder / "case0.nii.gz").write_bytes((folder / "case3.nii.gz").read_bytes())
    elif what == "version":
        monkeypatch.setattr("deepfeatures.io.provenance.__version__", "99")
    return ["case1", "case2", "case3", "case4"]


@pytest.mark.parametrize("what", ["landmarks", "target", "template", "version"])
def test_results_of_what_has_changed_do_not_count_and_are_computed_anew(folder, monkeypatch, what):
    job = make_study(folder, MIND)
    study.run(job)
    before = {line["target"]: line for line in Results(job, MIND).stored}
    assert study.prepare(job) == 0
    outdated = change(folder, what, monkeypatch)
    assert study.prepare(job) == len(outdated)
    assert sorted(computed(job)) == sorted(set(before) - set(outdated))
    study.run(job)
    after = {line["target"]: line for line in Results(job, MIND).stored}
    assert after.keys() == before.keys()
    if what == "landmarks":
        shift = np.subtract(after["case1"]["positions"][0], before["case1"]["positions"][0])
        np.testing.assert_allclose(shift, (0, 0, 2), atol=0.5)
    study.run(job)
    assert {line["target"]: line for line in Results(job, MIND).stored} == after


def test_results_of_other_weights_do_not_count(folder, monkeypatch):
    cifl = dense("cifl", "fine_ssc", 13)
    job = make_study(folder, cifl)
    pair = job.pairs[0]
    Results(job, cifl).add(pair, np.zeros((3, 3)), 1.0)
    assert computed(job, cifl) == ["case1"]
    monkeypatch.setattr("deepfeatures.networks.weights.record", lambda key: {"sha256": f"other weights of {key}"})
    assert computed(job, cifl) == []


def test_another_file_of_the_same_landmarks_changes_nothing(folder):
    job = make_study(folder, MIND)
    study.run(job)
    write_landmarks(read_landmarks(folder / "case0.mrk.json"), folder / "case0.mrk.json")
    assert study.prepare(job) == 0


def test_the_folder_says_how_it_was_made(folder, tmp_path, capsys):
    grid = ["--network", "mind", "--patch-size", "8", "--targets", "1", "--device", "cpu"]
    arguments = ["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), *grid]
    assert main(arguments) == 0
    told = json.loads((tmp_path / "out/study.json").read_text())
    assert told["command"].endswith("--targets 1 --device cpu")
    assert told["versions"]["deepfeatures"] == __version__
    assert datetime.fromisoformat(told["date"]).tzinfo
    (folder / "case1.nii.gz").write_bytes((folder / "case3.nii.gz").read_bytes())
    capsys.readouterr()
    assert main(arguments) == 0
    assert "1 results in" in capsys.readouterr().err


def test_an_interrupt_ends_all_processes_and_says_so_in_one_line(folder, tmp_path, interrupted):
    policies = [word for policy in ("percentile", "zscore", "histogram", "rank") for word in ("--intensity", policy)]
    grid = ["--network", "mind", "--network", "vgg19-3d-random", "--patch-size", "12", *policies]
    command = ["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), *grid, "--workers", "2"]
    code, said = interrupted(
        [*command, "--device", "cpu"], tmp_path, lambda: any(tmp_path.glob("out/configurations/*"))
    )
    assert code == 130
    assert said.strip().count("\n") == 0, said
    assert len(list(tmp_path.glob("out/configurations/*"))) < 8


def test_another_template_needs_another_folder(folder):
    make_study(folder, MIND)
    with pytest.raises(InputError, match="another template or radius"):
        make_study(folder, MIND, search_radius_mm=5.0)


def test_shifted_copies_are_found_and_the_tables_say_so(folder):
    job = make_study(folder, MIND)
    study.run(job)
    errors = tables.error_table(job)
    assert len(errors) == 4 * 3 - 1
    assert errors.error_mm.max() < 0.5
    assert errors.initial_mm.mean() > 1
    (configuration,) = tables.configuration_table(job, errors).to_dict("records")
    by_target = errors.groupby("target")[["initial_mm", "error_mm"]].mean()
    expected = stats.ttest_rel(by_target.initial_mm, by_target.error_mm)
    assert configuration["t"] == pytest.approx(expected.statistic)
    assert configuration["p"] == pytest.approx(expected.pvalue)
    assert configuration["gain_low_mm"] < configuration["gain_mm"] < configuration["gain_high_mm"]
    assert configuration["gain_mm"] == pytest.approx((by_target.initial_mm - by_target.error_mm).mean())


def test_bonferroni_counts_every_configuration_of_the_study_also_those_without_weights(folder):
    absent = dense("brainage-resnet-3d", "stage1_block1_conv3", 12)
    job = make_study(folder, MIND, absent)
    study.run(job)
    table = tables.configuration_table(job, tables.error_table(job))
    assert table.unavailable.tolist() == ["", "no weights"]
    assert table.p_bonferroni[0] == pytest.approx(min(1, 2 * table.p[0]))
    assert np.isnan(table.mean_mm[1])


def test_a_landmark_that_was_not_found_counts_with_its_initial_error(folder):
    job = make_study(folder, MIND)
    study.run(job)
    results = Results(job, MIND)
    lines = results.stored
    lines[0]["positions"][1] = None
    results.path.write_text("\n".join(json.dumps(line) for line in lines))
    errors = tables.error_table(job)
    (lost,) = errors[errors.missing].to_dict("records")
    assert (lost["target"], lost["landmark"]) == ("case1", "b")
    assert lost["error_mm"] == lost["initial_mm"]


def test_the_command_writes_one_self_contained_page_and_uses_all_workers(folder, tmp_path, capsys):
    arguments = ["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), "--network", "mind"]
    arguments += ["--patch-size", "8", "--patch-size", "12", "--method", "default", "--workers", "2", "--device", "cpu"]
    assert main(arguments) == 0
    page = (tmp_path / "out/report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 5
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    table = pd.read_csv(tmp_path / "out/configurations.csv")
    assert table.method.tolist() == ["grid", "grid", "default"]
    assert table.targets.eq(4).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to compare"),
        (["--network", "nonesuch"], "no network"),
        (["--network", "mind", "--search", "quick"], "no search 'quick'"),
        (["--method", "default", "--template", "nobody"], "no case 'nobody'"),
        (["--network", "brainage-resnet-3d"], "none of the configurations"),
        (["--network", "mind", "--initialization", "upright"], "no initialization 'upright'"),
    ],
)
def test_bad_input_ends_in_one_sentence(folder, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path))
    assert main(["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ((Landmark("a", None, "missing"), Landmark("b", None, "missing")), "no landmark with a position"),
        ((Landmark("a", (9.0, 9, 9)), Landmark("a", (5.0, 5, 5))), "several landmarks a; rename"),
    ],
)
def test_landmarks_that_cannot_be_compared_are_refused_before_anything_is_computed(
    folder, tmp_path, capsys, points, words
):
    write_landmarks(LandmarkSet(points), folder / "case0.mrk.json")
    assert main(["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), "--network", "mind"]) == 2
    message = capsys.readouterr().err
    assert "case0.mrk.json" in message and words in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_one_of_several_templates_may_have_no_landmark(folder, tmp_path):
    write_landmarks(LandmarkSet((Landmark("a", None, "missing"),)), folder / "case0.mrk.json")
    grid = ["--network", "mind", "--patch-size", "12", "--device", "cpu"]
    assert main(["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), "--template", "each", *grid]) == 0
    assert pd.read_csv(tmp_path / "out/errors.csv").template.nunique() == 4


@pytest.mark.parametrize(
    "settings",
    [
        MatchSettings(network="mind", layer="ssc_r1_d2", search="dense", device="cpu"),
        MatchSettings(network="vgg19-3d-random", layer="conv2_1", search="dense", search_radius_mm=4.0, device="cpu"),
    ],
)
def test_sizes_that_share_features_place_as_a_matcher_of_their_own(folder, settings):
    one, *others = (case.read() for case in find_cases(folder)[:3])
    together = DenseGrid(settings, (8, 12))
    for other, _ in others:  # the second time from the template's features that are kept
        for size, (positions, seconds) in zip((8, 12), together.place(*one, other), strict=True):
            alone = Matcher(replace(settings, patch_size=size)).match(*one, other).landmarks
            assert np.array_equal(positions, alone.positions)
            assert seconds > 0


def test_a_template_without_placed_landmarks_does_not_stop_the_study(folder):
    template, target = (case.read()[0] for case in find_cases(folder)[:2])
    unplaced = LandmarkSet((Landmark("a", None, "missing"),))
    for positions, _ in DenseGrid(MIND.settings, [8, 12]).place(template, unplaced, target):
        assert np.isnan(positions).all()


def test_every_volume_is_encoded_once_for_all_sizes(folder, monkeypatch):
    one, *others = (case.read() for case in find_cases(folder)[:3])
    encoded, encode = [], Features.encode

    def counted(self, voxels, *more):
        encoded.append(voxels)
        return encode(self, voxels, *more)

    monkeypatch.setattr(Features, "encode", counted)
    together = DenseGrid(MIND.settings, [8, 12, 16])
    for other, _ in others:
        together.place(*one, other)
    assert len(encoded) == 3


def test_what_does_not_fit_into_memory_is_searched_block_by_block(folder, monkeypatch):
    one, other, *_ = (case.read() for case in find_cases(folder))
    fits = DenseGrid(MIND.settings, (8,)).place(*one, other[0])[0][0]
    monkeypatch.setattr("deepfeatures.evaluation.dense_grid.memory_to_use", lambda _: 1000)
    assert np.array_equal(DenseGrid(MIND.settings, (8,)).place(*one, other[0])[0][0], fits)


def test_only_dense_configurations_of_one_layer_are_computed_together():
    grid = configurations.grid(["mind"], [], [8, 12], ["dense", "guided"], ["auto", "any"])
    assert [len(group) for group in study.groups_of(grid)] == [2, 1, 1, 1, 1]


def test_each_case_in_turn_is_the_template(folder, tmp_path):
    pytest.importorskip("pyarrow")
    arguments = ["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), "--network", "mind"]
    assert main([*arguments, "--patch-size", "8", "--template", "each", "--device", "cpu"]) == 0
    errors = pd.read_parquet(tmp_path / "out/errors.parquet")
    assert len(errors[["template", "target"]].drop_duplicates()) == 5 * 4
    assert errors.error_mm.max() < 0.5
    pd.testing.assert_frame_equal(errors, pd.read_csv(tmp_path / "out/errors.csv"))


def test_what_a_converter_or_a_system_put_beside_scans_is_not_taken_for_landmarks_or_scans(folder):
    write_landmarks(read_landmarks(folder / "case0.mrk.json"), folder / "case0.fcsv")
    (folder / "case0.mrk.json").unlink()
    (folder / "case0.json").write_text('{"Modality": "MR"}')
    for name in ("case1.nii.gz", "case1.mrk.json"):
        (folder / f"._{name}").write_bytes(b"\0\5\26\7")
    found = {case.name: case.landmarks.name for case in find_cases(folder)}
    assert list(found) == [f"case{number}" for number in range(5)]
    assert found["case0"] == "case0.fcsv"


def test_cases_may_be_named_in_a_table(folder):
    table = folder / "chosen.csv"
    table.write_text("volume,landmarks\ncase3.nii.gz,case3.mrk.json\ncase1.nii.gz,case1.mrk.json\n")
    assert [case.name for case in find_cases(table)] == ["case3", "case1"]
    table.write_text("volume,landmarks\ncase3.nii.gz,nobody.mrk.json\n")
    with pytest.raises(InputError, match="line 2"):
        find_cases(table)


def test_initialization_and_intensity_are_axes_where_a_search_has_them():
    grid = configurations.grid(["mind"], [], [12], ["dense", "patch", "guided"], ["auto", "any"], ["auto", "rank"])
    assert len(grid) == len({configuration.name for configuration in grid}) == 2 + 1 + 4


@pytest.mark.parametrize(
    ("method", "package"), [("ants-syn", "antspyx"), ("elastix", "itk-elastix"), ("convexadam", "convexAdam")]
)
def test_a_baseline_that_is_not_installed_is_named_at_once(folder, tmp_path, monkeypatch, capsys, method, package):
    monkeypatch.setattr("deepfeatures.cli.evaluate.is_installed", lambda _: False)
    assert main(["evaluate", str(folder), "--output-dir", str(tmp_path / "out"), "--method", method]) == 2
    expected = f"error: {method} needs {package}; install it with pip install '.[evaluation]'\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "out").exists()


def test_a_baseline_that_gives_up_on_a_target_does_not_stop_the_study(folder, monkeypatch, caplog):
    def give_up(template, landmarks, target):
        if target.name == "case2":
            raise RuntimeError("too many samples\nmap outside")
        return landmarks.positions

    monkeypatch.setitem(BASELINES, "elastix", Baseline("itk-elastix", give_up))
    job = make_study(folder, configurations.Configuration("elastix"))
    study.run(job)
    errors = tables.error_table(job)
    assert errors.groupby("target").missing.all().to_dict() == {f"case{n}": n == 2 for n in range(1, 5)}
    assert caplog.messages == ["elastix found nothing in case2: too many samples map outside"]


@pytest.mark.parametrize(
    ("method", "package"), [("ants-affine", "ants"), ("elastix", "itk"), ("convexadam", "convexAdam")]
)
def test_baselines_carry_points_in_lps(method, package):
    pytest.importorskip(package)
    # blobs for those that begin with centres of mass, texture for elastix, which looks at samples drawn at random
    axes = np.meshgrid(*[np.arange(60.0)] * 3, indexing="ij")
    whole = 300 * gaussian_filter(np.random.default_rng(0).normal(size=(60, 60, 60)), 3)
    for middle in [[24, 30, 28], [36, 28, 30], [30, 37, 34]]:
        whole += 100 * np.exp(-sum((a - m) ** 2 for a, m in zip(axes, middle, strict=True)) / 40)

    def cut(shift, origin):
        x, y, z = 10 - np.array(shift)
        voxels = whole[z : z + 40, y : y + 40, x : x + 40].astype(np.float32)
        return Volume(torch.from_numpy(voxels), np.array(origin, float))

    template, target = cut((0, 0, 0), (5, -7, 20)), cut((3, -2, 1), (-30, 4, 11))
    lost = Landmark("lost", None, "missing")
    points = LandmarkSet((Landmark("a", (23.0, 13.0, 34.0)), lost, Landmark("b", (27.0, 10.0, 44.0))))
    truth = points.positions - template.origin + target.origin + [3, -2, 1]
    found = BASELINES[method].place(template, points, target)
    assert np.linalg.norm(found - truth, axis=1)[[0, 2]].max() < 1  # an axis taken the wrong way would leave 2 or more
    assert np.isnan(found[1]).all()
