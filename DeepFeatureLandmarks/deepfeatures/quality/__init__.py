"""Quality of annotations: several raters, and landmarks placed automatically, on the same scans.

Every function takes `Annotation`s, arrays or `Volume`s and returns dataclasses or `pandas` tables: nothing here reads
the command line, draws a window or knows of MRML. Needs the extra `quality`; PyTorch only where there are volumes.
"""

from deepfeatures.quality.annotated_scans import AnnotatedScans, read_annotated_scans
from deepfeatures.quality.annotations import Annotation, position_table, read_rater, with_same_names
from deepfeatures.quality.error_detection import AnnotationError, find_annotation_errors
from deepfeatures.quality.reference_model import ReferenceModel, fit_reference_model
from deepfeatures.quality.review import Review, review
from deepfeatures.quality.template_check import check_templates
from deepfeatures.quality.template_comparison import TemplateCheck

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
