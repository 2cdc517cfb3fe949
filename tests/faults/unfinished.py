"""Projects that stopped before a stage, as a fault leaves them and a run resumes them."""

import shutil
from pathlib import Path

from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE
from traitvec_core.stage_names import STAGES, Stage

ORDER: list[Stage] = list(STAGES[1:])
_PARTS: dict[Stage, tuple[str, ...]] = {
    "responses": (
        "responses/raw_*.csv",
        "responses/token_ids.json",
        "responses/generation_metadata.json",
    ),
    "judged_responses": ("responses/pos.csv", "responses/neg.csv", "responses/judging_*.json"),
    "activations": ("activations/*",),
    "vectors": ("vectors/*",),
    "steering_evaluation": ("steering/*",),
    "validation_report": ("validation/*",),
    "trait_dynamics": ("dynamics/*",),
}


def copy_unfinished(folder: Path, finished: Path, first: Stage) -> None:
    """Copy a finished project with the trait `refusal`, as if `first` were the next to be made."""
    # Stored judgements outlive the stages that use them.
    is_judged = first in {"judged_responses", "steering_evaluation"}
    ignored = shutil.ignore_patterns(*([f"{JUDGEMENTS_FILE}*"] if is_judged else []))
    shutil.copytree(finished, folder, ignore=ignored, dirs_exist_ok=True)
    trait = folder / "experiments/demo/refusal"
    for stage in ORDER[ORDER.index(first) :]:
        for part in _PARTS[stage]:
            for path in trait.glob(part):
                path.unlink()
