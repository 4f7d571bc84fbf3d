"""Quality of annotations: several raters, and landmarks placed automatically, on the same scans.

Every function takes `Annotation`s, arrays or `Volume`s and returns dataclasses or `pandas` tables: nothing here reads
the command line, draws a window or knows of MRML. Needs the extra `quality`; PyTorch only where there are volumes. The
check of templates, which places landmarks, is imported from `template_check` and `annotated_scans`.
"""

from deepfeatures.quality.annotations import Annotation, position_table, read_rater, with_same_names
from deepfeatures.quality.error_detection import AnnotationError, find_annotation_errors
from deepfeatures.quality.reference_model import ReferenceModel, fit_reference_model
from deepfeatures.quality.review import Review, review

__all__ = [
    "Annotation",
    "AnnotationError",
    "ReferenceModel",
    "Review",
    "find_annotation_errors",
    "fit_reference_model",
    "position_table",
    "read_rater",
    "review",
    "with_same_names",
]
