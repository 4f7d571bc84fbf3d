"""Places the landmarks of a template in many targets: everything checked first, every result written whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deepfeatures.data.ambiguity import OtherPlacement, ambiguity_text
from deepfeatures.data.asymmetry import Asymmetry
from deepfeatures.data.landmark_checks import check_inside, check_unique_names
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.missing_reason import missing_text
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, is_out_of_memory, out_of_memory
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.bids import NAMED_LABEL_MAP, is_label_map
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.transform_files import is_transform_file
from deepfeatures.io.volume_files import check_volume, read_volume
from deepfeatures.matching.groupwise import GroupwiseModel
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.pipelines.companions import Companions
from deepfeatures.pipelines.semi_landmarks import FOLDER, PlacedShapes, Settled

if TYPE_CHECKING:
    from deepfeatures.matching.matcher import Matcher
    from deepfeatures.matching.result import MatchResult
    from deepfeatures.matching.settings import MatchSettings

OUTPUT_SUFFIX, TRANSFORM_SUFFIX = ".mrk.json", ".h5"


class LandmarkResult(Protocol):
    """What placing asks of a result; `MatchResult` and `MultiTemplateResult` are such."""

    landmarks: LandmarkSet

    @property
    def alternatives(self) -> Sequence[OtherPlacement]: ...

    @property
    def notes(self) -> tuple[Note, ...]: ...

    def report(self) -> dict: ...


class LandmarkMatcher(Protocol):
    """What placing asks of a matcher; `Matcher` and `MultiTemplateMatcher` are such."""

    settings: MatchSettings

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Callable[[float], None] = ...,
    ) -> LandmarkResult: ...


@dataclass(frozen=True)
class Job:
    """What the user asked for.

    Args:
        template: Volume in which the landmarks lie, or a protocol, which holds both.
        landmarks: Landmark file of the template; `None` for a protocol.
        targets: Volumes in which to find them.
        output_dir: Folder for one landmark file a target.
        mask: Volume that is not zero where the target may be searched; only with a single target.
        report: JSON file to write about the run, `None` for none.
        others: More templates and their landmark files, with which the first is to agree.
        memory_bytes: That a search may take, `None` for what is free; volumes too large for it are read coarser.
        series: Number, UID or description of the series to read of every folder of DICOM files that is given.
        curves, surfaces: Files of curves, and of grids on surfaces, that lie in the template; only with one template.
        pairs: Table of left and right landmarks; `None` to find them by their names.
        transform: File for the transform that the search finds, or a folder for one a target; `None` for none.
    """

    template: Path
    landmarks: Path | None
    targets: tuple[Path, ...]
    output_dir: Path
    mask: Path | None = None
    report: Path | None = None
    others: tuple[tuple[Path, Path], ...] = ()
    memory_bytes: int | None = None
    series: str | None = None
    curves: tuple[Path, ...] = ()
    surfaces: tuple[Path, ...] = ()
    pairs: Path | None = None
    transform: Path | None = None

    def output_of(self, target: Path) -> Path:
        return self.output_dir / f"{image_stem(target)}{OUTPUT_SUFFIX}"

    def transform_of(self, target: Path) -> Path | None:
        """The transform file of a target."""
        if self.transform is None or is_transform_file(self.transform):
            return self.transform
        return self.transform / f"{image_stem(target)}{TRANSFORM_SUFFIX}"

    def curves_of(self, target: Path) -> Path:
        """Where the curves and surfaces of a target are written."""
        return self.output_dir / FOLDER / f"{image_stem(target)}{OUTPUT_SUFFIX}"


@dataclass(frozen=True)
class Outcome:
    """What became of one target.

    Args:
        target: The volume.
        output: The landmark file written, `None` where the target failed.
        placed: Number of landmarks found.
        missing: Names of those that were not.
        missing_text: The same with the reasons, see `reasons.missing_text`.
        ambiguous: Names of those with a look-alike in the target.
        ambiguity_text: What is ambiguous and how, see `ambiguity.ambiguity_text`.
        report: The matcher's own report.
        failure: Why the target failed, one sentence, `None` where it did not.
        notes: What people should know of how the volumes were read, each with the volume's name.
        shapes: The curves and surfaces written, `None` where there are none.
        asymmetry: Of left and right landmarks, `None` where too few of them are placed.
    """

    target: Path
    output: Path | None = None
    placed: int = 0
    missing: tuple[str, ...] = ()
    missing_text: str = ""
    ambiguous: tuple[str, ...] = ()
    ambiguity_text: str = ""
    report: dict | None = None
    failure: str | None = None
    notes: tuple[Note, ...] = ()
    shapes: PlacedShapes | None = None
    asymmetry: Asymmetry | None = None

    @property
    def status(self) -> str:
        if self.failure:
            return "failed"
        return "some landmarks missing" if self.missing else "placed"


def prepare(job: Job) -> tuple[Volume, LandmarkSet, Volume | None]:
    """The template, its landmarks and the mask, after everything that can be checked quickly was found good.

    Landmark names must be unique: results are told apart, and compared, by name.

    Raises:
        InputError: Where anything in the job cannot be used.
    """
    _check_paths(job)
    with suppress_native_output():
        for path in (*job.targets, *([job.mask] if job.mask else [])):
            check_volume(path, job.series)
    template, landmarks = read_template(job.template, job.landmarks, job.series)
    with suppress_native_output():
        mask = read_volume(job.mask, job.series) if job.mask else None
    ensure_folder(job.output_dir)
    if job.transform:
        ensure_folder(job.transform_of(job.targets[0]).parent)
    if job.report:
        ensure_folder(job.report.parent)
    return template, landmarks, mask


def read_template(volume: Path, points: Path | None, series: str | None = None) -> tuple[Volume, LandmarkSet]:
    """A template and its landmarks, which have unique names and lie in it; the template has the notes of both files.

    Args:
        volume: Of the template, or a protocol.
        points: Its landmark file; `None` for a protocol, which holds both.
        series: See `open_volume`.

    Raises:
        InputError: Where they do not, or a file cannot be read.
    """
    if points is None:
        protocol = read_protocol(volume)
        return protocol.template, protocol.landmarks
    landmarks = read_landmarks(points)
    check_unique_names(landmarks, points)
    if len(landmarks.missing) == len(landmarks):
        raise InputError(f"{points} has no landmark with a position; place at least one in the template")
    with suppress_native_output():
        template = read_within_memory(volume, None, series)
    template = replace(template, notes=(*template.notes, *landmarks.notes))
    check_inside(landmarks, template, points, volume)
    return template, landmarks


def place(
    job: Job,
    template: Volume,
    landmarks: LandmarkSet,
    mask: Volume | None,
    matcher: LandmarkMatcher,
    progress: Callable[[int, float], None],
) -> Iterator[Outcome]:
    """Place the landmarks in one target after another and write each result before the next begins.

    A target that fails only now, by its voxels or for want of memory, does not keep the others from being placed.

    Args:
        job: What `prepare` has checked.
        template: What `prepare` returned, as are `landmarks` and `mask`.
        landmarks: In the template.
        mask: Of the only target.
        matcher: Finds the landmarks.
        progress: Called with the index of the target and the fraction of it that is done, from 0 to 1.
    """
    beside = Companions.of(job, template, landmarks)
    for index, path in enumerate(job.targets):
        progress(index, 0.0)

        def match(target: Volume, index: int = index) -> LandmarkResult:
            return matcher.match(template, landmarks, target, mask=mask, progress=lambda done: progress(index, done))

        yield _placed(job, path, match, beside, lambda target: beside.settled(matcher, target)).outcome
        progress(index, 1.0)


def place_together(
    job: Job,
    template: Volume,
    landmarks: LandmarkSet,
    matcher: Matcher,
    progress: Callable[[int, float], None],
) -> Iterator[Outcome]:
    """As `place`; once all are placed, each is refined by what all show, and its result is written anew.

    The outcome of a target is given twice: alone, and refined. Where refinement fails, what was found alone stands, and
    so does a file that somebody has changed or taken away since it was written.

    Args:
        job, template, landmarks: See `place`; without a mask.
        matcher: With a guided search.
        progress: As of `place`; indices of the second turn follow those of the first.
    """
    group, waiting, beside = GroupwiseModel(), [], Companions.of(job, template, landmarks)
    for index, path in enumerate(job.targets):
        progress(index, 0.0)

        def match(target: Volume, index: int = index) -> MatchResult:
            return matcher.match(template, landmarks, target, progress=lambda done: progress(index, done), group=group)

        found = _placed(job, path, match, beside, lambda target: beside.settled(matcher, target))
        yield found.outcome
        if found.result is not None and found.result.state is not None:
            waiting.append(found)
        progress(index, 1.0)
    for turn, alone in enumerate(waiting, len(job.targets)):
        if group.is_sufficient(alone.result.state):
            yield _refined(job, beside, alone, matcher, group)
        progress(turn, 1.0)


@dataclass(frozen=True)
class _Placed:
    """What became of a target, its result, `None` where it failed, when its file was written, and its shapes."""

    outcome: Outcome
    result: LandmarkResult | None = None
    written_ns: int = 0
    settled: Settled | None = None


def _placed(
    job: Job,
    path: Path,
    match: Callable[[Volume], LandmarkResult],
    beside: Companions,
    settled_in: Callable[[Volume], Settled | None],
) -> _Placed:
    """A target's landmarks and shapes, found and written."""
    try:
        with suppress_native_output():
            target = read_within_memory(path, job.memory_bytes, job.series)
        if is_label_map(path):
            target = replace(target, notes=(*target.notes, NAMED_LABEL_MAP))
        result = match(target)
        placed, output = result.landmarks, job.output_of(path)
        settled = settled_in(target)
        write_landmarks(placed, output)
        shapes = beside.written(job.curves_of(path), placed, settled)
        notes = (*result.notes, *beside.write_transform(job.transform_of(path), path, result))
    except InputError as error:
        return _Placed(Outcome(path, failure=str(error)))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _Placed(Outcome(path, failure=out_of_memory(str(path))))
    missing = missing_text(placed.landmarks, notes=result.notes)
    found = len(placed) - len(placed.missing)
    outcome = Outcome(
        path,
        output,
        found,
        placed.missing,
        missing,
        tuple(landmark.name for landmark in placed if landmark.ambiguous),
        ambiguity_text(placed, result.alternatives),
        result.report(),
        notes=notes,
        shapes=shapes,
        asymmetry=beside.asymmetry(placed),
    )
    return _Placed(outcome, result, output.stat().st_mtime_ns, settled)


def _refined(job: Job, beside: Companions, alone: _Placed, matcher: Matcher, group: GroupwiseModel) -> Outcome:
    """A target refined by what the group shows."""
    output = alone.outcome.output

    def refine(target: Volume) -> MatchResult:
        result = matcher.refine_with_group(beside.template, beside.landmarks, target, alone.result, group)
        if not output.exists() or output.stat().st_mtime_ns != alone.written_ns:
            raise InputError(f"{output} was changed in the meantime and is left as it is")
        return result

    refined = _placed(job, alone.outcome.target, refine, beside, lambda _: alone.settled).outcome
    if refined.failure:
        why = Note(NoteKind.INDEPENDENT, f"placed without regard to the other targets: {refined.failure}")
        return replace(alone.outcome, notes=(*alone.outcome.notes, why))
    return refined


def _check_paths(job: Job) -> None:
    """Raise `InputError` where two results would bear one name, or a result would replace something that was given."""
    taken: dict[str, Path] = {}
    for target in job.targets:
        other = taken.setdefault(image_stem(target).casefold(), target)  # some file systems ignore case
        if other is not target:
            raise InputError(
                f"{other} and {target} would both be written to {job.output_of(target)}; "
                "rename one or place them into different folders"
            )
    if job.mask and len(job.targets) > 1:
        raise InputError(f"--mask belongs to one target but there are {len(job.targets)}; place them one at a time")
    if job.transform and is_transform_file(job.transform) and len(job.targets) > 1:
        raise InputError(f"--transform {job.transform} is one file for {len(job.targets)} targets; give a folder")
    if job.others and (job.curves or job.surfaces):
        raise InputError("curves and surfaces belong to one template; give one --template, or leave them out")
    files = job.template, job.landmarks, *job.targets, job.mask, *(path for pair in job.others for path in pair)
    files = *files, *job.curves, *job.surfaces, job.pairs
    given = {path.resolve() for path in files if path is not None}
    outputs = [job.output_of(target) for target in job.targets]
    of_curves = [job.curves_of(target) for target in job.targets] if job.curves or job.surfaces else []
    transforms = [job.transform_of(target) for target in job.targets] if job.transform else []
    for path in (*outputs, *of_curves, *transforms, *([job.report] if job.report else [])):
        if path.resolve() in given:
            raise InputError(f"the result {path} would replace a file that was given; choose another --output-dir")
    if job.report and job.report.resolve() in {path.resolve() for path in outputs}:
        raise InputError(f"--report {job.report} would replace a result; choose another name")
    for path in (*filter(_has_points_of_a_person, outputs), *filter(_has_locked_points, of_curves)):
        raise InputError(
            f"the result would replace points of {path} that somebody has placed or locked; "
            "choose another --output-dir, or move the file away"
        )


def _has_points_of_a_person(path: Path) -> bool:
    try:
        points = read_landmarks(path) if path.exists() else ()
    except InputError:  # whatever it is, it holds no points
        return False
    return any(point.is_of_a_person for point in points)


def _has_locked_points(path: Path) -> bool:
    """Whether somebody has locked a point of a curve, whose points have no scores of their own."""
    return path.exists() and any(point.locked for point in read_landmarks(path))
