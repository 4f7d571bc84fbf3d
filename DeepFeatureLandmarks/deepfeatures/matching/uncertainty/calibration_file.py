"""The file of a calibration of one's own: JSON with the coefficients of an error model and where they come from."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfeatures.errors import InputError
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import VERSION, ErrorModel, from_values, to_values
from deepfeatures.matching.uncertainty.predictive_distribution import LEVELS, POSITIONS

FORMAT = "deepfeatures calibration"
MOST_BYTES = 1_000_000
LARGEST = 1e4  # of any coefficient
LOGARITHMIC = ("intercept", "offset", "deviation")


@dataclass(frozen=True)
class Calibration:
    """A calibration that was read.

    Args:
        file: Where it lies.
        sha256: Of the file.
        model: What it says.
    """

    file: str
    sha256: str
    model: ErrorModel

    def report(self) -> dict[str, str]:
        """As JSON takes it: what tells it from others."""
        return {"file": self.file, "sha256": self.sha256}


def calibration_text(model: ErrorModel, features: str, made_from: dict[str, Any]) -> str:
    """The content of the file.

    Args:
        model: To be written.
        features: See `error_model.features_key`.
        made_from: What people want to know of it: scans, versions, how well it does.
    """
    content = {"format": FORMAT, "features": features, "made_from": made_from, "model": to_values(model)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_calibration(path: str | Path, features: str) -> Calibration:
    """A calibration for these features.

    Raises:
        InputError: The file cannot be read, is no calibration, or is one for other features or of another version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The calibration {path} cannot be read ({reason}); give a file that exists.") from error
    try:
        content = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no calibration; give a file that deepfeatures calibrate has written.")
    if content.get("features") != features:
        raise InputError(
            f"The calibration {path} is for {content.get('features')}, not for {features}; calibrate with the same"
            " settings."
        )
    values = content.get("model")
    values = values if isinstance(values, dict) else {}
    if values and (values.get("version"), values.get("evidence")) != (VERSION, list(NAMES)):
        raise InputError(f"The calibration {path} is of another version of deepfeatures; make it anew.")
    model = model_from_json(values)
    if model is None:
        raise InputError(f"The calibration {path} is damaged; make it anew with deepfeatures calibrate.")
    return Calibration(str(path), hashlib.sha256(data).hexdigest(), model)


def model_from_json(values: dict[str, Any]) -> ErrorModel | None:
    """The model that `to_values` has given; `None` where it cannot be one."""
    return from_values(values) if _is_sound(values) else None


def _is_sound(values: Any) -> bool:
    """Whether a model's values have the lengths, kinds and order that they must have."""
    try:
        span, distribution = values["range"], values["distribution"]
        splits, rows = distribution["splits"], distribution["quantiles"]
        positive = [values["offset"], values["deviation"], *(span["deviations"] if span else ())]
        columns = [split["column"] for split in splits]
        return all(
            (
                set(values) == {"version", "evidence", *ErrorModel.__dataclass_fields__},
                all(_is_number(values[name]) for name in LOGARITHMIC),
                all(_is_row(values[name], len(NAMES)) for name in ("slopes", "means")),
                values["spread_slopes"] == [] or _is_row(values["spread_slopes"], len(NAMES)),
                span is None or _is_range(span),
                all(number > 0 for number in positive),
                all(type(column) is int and 0 <= column < len(NAMES) for column in columns),
                all(set(split) == {"column", "threshold"} and _is_number(split["threshold"]) for split in splits),
                len(rows) == POSITIONS * 2 ** len(splits),
                all(_is_row(row, len(LEVELS)) and sorted(set(row)) == row for row in rows),
            )
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _is_range(span: dict[str, Any]) -> bool:
    rows = [span[name] for name in ("low", "high", "deviations")]
    return (
        len(span) == len(rows)
        and all(_is_row(row, len(NAMES)) for row in rows)
        and all(low <= high for low, high in zip(*rows[:2], strict=True))
    )


def _is_row(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(map(_is_number, row))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST
