"""Quality of annotations: several raters, and landmarks placed automatically, on the same scans.

Every function takes `Annotation`s, arrays or `Volume`s and returns dataclasses or `pandas` tables: nothing here reads
the command line, draws a window or knows of MRML. Needs the extra `quality`; PyTorch only where there are volumes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepfeatures.quality.annotations import Annotation, position_table, read_rater, with_same_names
from deepfeatures.quality.error_detection import AnnotationError, find_annotation_errors
from deepfeatures.quality.reference_model import ReferenceModel, fit_reference_model
from deepfeatures.quality.review import Review, review

if TYPE_CHECKING:
    from deepfeatures.quality.annotated_scans import AnnotatedScans, read_annotated_scans
    from deepfeatures.quality.template_check import check_templates
    from deepfeatures.quality.template_comparison import TemplateCheck

# Imported where they are used: they read volumes, and need PyTorch.
_HOMES = {
    "AnnotatedScans": "deepfeatures.quality.annotated_scans",
    "TemplateCheck": "deepfeatures.quality.template_comparison",
    "check_templates": "deepfeatures.quality.template_check",
    "read_annotated_scans": "deepfeatures.quality.annotated_scans",
}

__all__ = [
    "AnnotatedScans",
    "Annotation",
    "AnnotationError",
    "ReferenceModel",
    "Review",
    "TemplateCheck",
    "check_templates",
    "find_annotation_errors",
    "fit_reference_model",
    "position_table",
    "read_annotated_scans",
    "read_rater",
    "review",
    "with_same_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
