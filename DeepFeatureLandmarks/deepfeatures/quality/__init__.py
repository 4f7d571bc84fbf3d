"""Quality of annotations: several raters and the machine on the same scans, and what a lead should look at.

Every function takes `Annotation`s, arrays or `Volume`s and returns dataclasses or `pandas` tables: nothing here reads
the command line, draws a window or knows of MRML. Needs the extra `quality`; PyTorch only where there are volumes.
"""

from deepfeatures.quality.annotations import Annotation, position_table, read_rater
from deepfeatures.quality.error_detection import Fault, find_faults
from deepfeatures.quality.reference_distribution import Norm, learn_norm
from deepfeatures.quality.review import Review, review

__all__ = [
    "Annotation",
    "Fault",
    "Norm",
    "Review",
    "find_faults",
    "learn_norm",
    "position_table",
    "read_rater",
    "review",
]
