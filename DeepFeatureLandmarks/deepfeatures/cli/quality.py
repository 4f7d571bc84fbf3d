"""`deepfeatures quality`: compare raters, find annotation errors, write a report."""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli import template_check as check_of_templates
from deepfeatures.cli.extras import require_extra
from deepfeatures.cli.options import option_of
from deepfeatures.cli.terminal import note
from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.io.bids import LazyVolumes
    from deepfeatures.quality.annotations import Annotation

FLAGGED = 3  # exit code


def quality(
    context: typer.Context,
    raters: Annotated[
        list[Path],
        typer.Argument(
            metavar="RATER",
            help="Folders, one a rater and called so, each with a landmark file a scan; or NAME=FOLDER.",
        ),
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for report.html and the tables.")],
    volumes: Annotated[
        Path | None,
        typer.Option("--volumes", help="Folder with the volumes: finds points outside the head and draws pictures."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="The rater to measure against; by default the median of the others."),
    ] = None,
    automatic_rater: Annotated[
        bool,
        typer.Option("--automatic-rater", help="Place each scan's landmarks from other scans too, as one more rater."),
    ] = False,
    template_check: Annotated[
        bool,
        typer.Option(
            "--template-check", help="Rank the annotated scans as templates, and find points labelled unlike."
        ),
    ] = False,
    template: Annotated[
        list[str] | None,
        typer.Option("--template", help="With --template-check: check this scan only; may be given several times."),
    ] = None,
    protocol: Annotated[
        str | None,
        option_of("protocol", "Place from this protocol, as the automatic rater or as the template to check."),
    ] = None,
) -> int:
    """Compare raters, and find swapped, mislabelled, misplaced, missing and outlying points.

    Files are matched to scans by their names. Writes report.html and CSV tables. Exit code 3 says that something is
    flagged.

    With --template-check, scans are compared as templates instead: the landmarks of each are placed in the others, and
    compared with the points there. Writes template_check.html, .json and .csv, and template_landmarks.csv.

    With --protocol, scans of people who have taught the protocol are not placed.
    """
    require_extra("quality", "quality", "pandas", "scipy", "statsmodels", "jinja2", "matplotlib")
    if template and not template_check:
        raise InputError("--template names a template to check; give --template-check too")
    if protocol and not (automatic_rater or template_check):
        raise InputError("--protocol is what landmarks are placed from; give --automatic-rater or --template-check too")
    if protocol and template:
        raise InputError(f"the protocol {protocol} is the template to check; leave out --template, or --protocol")
    if template_check:
        if reference or automatic_rater:
            raise InputError("--template-check compares scans, not raters; leave out --reference and --automatic-rater")
        return check_of_templates.run(raters, volumes, template or [], protocol, output_dir, context.obj)
    return _compare_raters(raters, output_dir, volumes, reference, automatic_rater, protocol)


def _compare_raters(
    raters: list[Path],
    output_dir: Path,
    volumes: Path | None,
    reference: str | None,
    automatic_rater: bool,
    protocol: str | None,
) -> int:
    if automatic_rater and volumes is None:
        raise InputError("--automatic-rater needs the volumes; give their folder with --volumes")
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.io.bids import LazyVolumes, find_volumes
    from deepfeatures.io.provenance import content_hash
    from deepfeatures.quality.annotations import landmark_names, read_rater, sidecar_notes, with_same_names
    from deepfeatures.quality.automatic_rater import consensus, inverse_consistency
    from deepfeatures.quality.report import write_review
    from deepfeatures.quality.review import review

    paths = find_volumes(volumes) if volumes else {}
    scans = LazyVolumes(paths)
    annotations, notes = [], []
    for rater in raters:
        name, equals, folder = (str(rater), "", "") if rater.is_dir() else str(rater).partition("=")
        annotations += read_rater(folder if equals else name, name if equals else None, tuple(paths))
        notes += sidecar_notes(folder if equals else name)
    if len({(annotation.rater, annotation.scan) for annotation in annotations}) < len(annotations):
        raise InputError("two raters bear the same name; give them as NAME=FOLDER with names of their own")
    named, _ = with_same_names(annotations, reference)
    carried = [one for one in named if one.rater == (reference or annotations[0].rater)]
    estimates, errors = {}, None
    if automatic_rater:
        hashes = {one.scan: content_hash(paths[one.scan]) for one in carried if one.scan in paths}
        placed = _placed(carried, scans, hashes, output_dir / "automatic_rater", protocol)
        estimates, errors = consensus(placed, landmark_names(named)), inverse_consistency(placed)
    found = review(annotations, reference, scans, estimates, errors, notes)
    for one in found.notes:
        note(one.text)
    with progress_bar("report") as progress:
        page = write_review(found, output_dir, reference, scans, progress)
    count = len(found.flagged)
    typer.echo(f"{page}: {count} of {len(found.positions)} points flagged")
    return FLAGGED if count else 0


def _placed(
    carried: list[Annotation], scans: LazyVolumes, hashes: dict[str, str], folder: Path, protocol: str | None
) -> dict[str, list[Annotation]]:
    """The landmarks of each scan, placed from other scans or from a protocol."""
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.io.provenance import content_hash
    from deepfeatures.matching import Matcher
    from deepfeatures.matching.settings import MatchSettings
    from deepfeatures.pipelines.learning import without_taught_people
    from deepfeatures.quality import automatic_rater
    from deepfeatures.quality.annotated_scans import PROTOCOL
    from deepfeatures.quality.annotations import Annotation

    matcher = Matcher(MatchSettings(protocol=protocol))
    with progress_bar("automatic rater") as progress:
        if protocol is None:
            return automatic_rater.place_from_others(carried, scans, hashes, matcher, folder, progress)
        known, file = matcher.protocol, Path(protocol)
        kept, left_out = without_taught_people(known, {one.scan: one for one in carried})
        note(left_out)
        template = Annotation(known.template.name, PROTOCOL, known.landmarks)
        volumes = ChainMap({template.scan: known.template}, scans)
        hashes = hashes | {template.scan: content_hash(file)}
        given = template, list(kept.values()), volumes, hashes, matcher, folder, progress
        return automatic_rater.place_from_template(*given)
