"""Which rubric, or which judge, agrees better with people."""

from traitvec_core.rubrics.compare import compare_rubrics, run_comparison
from traitvec_core.rubrics.comparison import (
    MIN_LABELS,
    AnchorRow,
    ContenderResult,
    Disagreement,
    RubricComparison,
)
from traitvec_core.rubrics.difference import Figures, compare_scores
from traitvec_core.rubrics.labels import Label, labels_of, parse_labels
from traitvec_core.rubrics.plan import (
    ComparisonPlan,
    Contender,
    estimate_comparison,
    plan_comparison,
)
from traitvec_core.rubrics.rubric_file import parse_rubric

__all__ = [
    "MIN_LABELS",
    "AnchorRow",
    "ComparisonPlan",
    "Contender",
    "ContenderResult",
    "Disagreement",
    "Figures",
    "Label",
    "RubricComparison",
    "compare_rubrics",
    "compare_scores",
    "estimate_comparison",
    "labels_of",
    "parse_labels",
    "parse_rubric",
    "plan_comparison",
    "run_comparison",
]
