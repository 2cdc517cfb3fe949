"""Rewords or drops what a trial names, tries again, and stops when there is nothing to gain."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel
from scipy.stats import ttest_rel

from traitvec_core.elicited_by import PAIRS_KEY
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import TRIAL_QUESTIONS
from traitvec_core.settings.drafting import DEFAULT_MAX_USD
from traitvec_core.stages.context import Workbench
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.trait_lock import changing_trait
from traitvec_core.trait import InstructionPair
from traitvec_core.trial.contrasts import Tried
from traitvec_core.trial.definition_file import changed_definition, replace_definition
from traitvec_core.trial.known_rows import count_reused
from traitvec_core.trial.trial import BUSY, Trial, run_trial
from traitvec_core.trust import check_trust
from traitvec_core.writing.prompts import PROMPT_VERSION
from traitvec_core.writing.rewording import reword
from traitvec_core.writing.rewording_prompts import IDLE
from traitvec_core.writing.unfinished import remove_draft
from traitvec_core.writing.writer import Writer

__all__ = ["MOST_ROUNDS", "Change", "Revised", "Revision", "revise_trait"]

MOST_ROUNDS = 3
# Largest chance with which rewording that changes nothing counts as a move.
_SIGNIFICANCE = 0.05

Ending = Literal["reached", "did not move", "rounds", "refused", "no writer", "unfinished"]
"""Why revising ended: the contrast is reached and nothing stands out; the last rewording did not
raise it; all rounds are used; the user did not want a change; there is nobody who could reword; the
judge could not finish the trial."""


class Change(BaseModel):
    """One change of a definition.

    Attributes:
        place: `instruction[3]`, `scenarios[3]` or `questions[3]`, as numbered before the change.
        before: The text; of a pair, both.
        after: The new text; empty if it is dropped.
    """

    place: str
    before: list[str]
    after: list[str]


class Revision(BaseModel):
    """One revision that was written.

    Attributes:
        changes: What was changed.
        earlier: Name of the file beside the definition with the version before it.
        usd: What the writer cost; None if its price is unknown.
        contrast_before: Contrast of the trial before it.
        contrast_after: Contrast of the trial after it; None after a drop, which is not tried again.
        has_moved: Whether the contrast of the reworded places rose by more than chance explains.
        is_undone: Whether the version before it was put back, because they fell.
    """

    changes: list[Change]
    earlier: str
    usd: float | None
    contrast_before: float | None
    contrast_after: float | None = None
    has_moved: bool = False
    is_undone: bool = False


class Revised(BaseModel):
    """What revising did.

    Attributes:
        trial: The last trial.
        revisions: What was written, in order.
        ending: Why it ended.
        writer_usd: What the writer cost in all; None if its price is unknown.
        judge_usd: What the judge cost in all; None if its price is unknown.
        generated: Responses that were generated in all.
    """

    trial: Trial
    revisions: list[Revision]
    ending: Ending
    writer_usd: float | None
    judge_usd: float | None
    generated: int


def revise_trait(
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench | None = None,
    *,
    writer: Writer | None = None,
    rounds: int = MOST_ROUNDS,
    drop: bool = False,
    max_usd: float = DEFAULT_MAX_USD,
    seed: int = 0,
    n_questions: int = TRIAL_QUESTIONS,
    confirm: Callable[[Trial, Sequence[Change]], bool] = lambda trial, changes: True,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    say: Callable[[str], None] = lambda text: None,
) -> Revised:
    """Try a trait; reword what elicits nothing and try again; then drop what still does not.

    The definition is replaced in one step, and each earlier version is kept beside it as
    `trait_definition.1.json`, `.2.json`, …. A rewording after which the reworded places elicit
    less is undone. Only what changed is generated and judged again.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.
        writer: The writer; None rewords nothing.
        rounds: The most rewordings.
        drop: Whether what elicits nothing in the end is dropped.
        max_usd: The most that the writer may cost in this call.
        seed: The writer's seed.
        n_questions: Questions per pair in each trial.
        confirm: Called before each change of the definition; False leaves it as it is.
        on_trial: Called with each trial as it ends.
        say: Called with lines about the writer's progress.

    Raises:
        TraitvecError: As for `try_trait`; if the writer's answers stay faulty or the budget is
            spent; or if a drop would leave too little. All that is finished is kept.
    """
    bench = bench or Workbench()
    experiment = ExperimentFolder(folder.path.parent.parent, folder.path.parent.name)
    check_trust(experiment, settings)
    folder.definition().pairs(settings.elicitation)
    with changing_trait(folder.path, "a trial", BUSY):
        loop = _Loop(folder, settings, bench, experiment, n_questions, on_trial)
        ending = loop.reword(writer, min(rounds, MOST_ROUNDS), max_usd, seed, confirm, say)
        if drop:
            loop.drop(confirm)
    return Revised(
        trial=loop.trial,
        revisions=loop.revisions,
        ending=ending,
        writer_usd=_sum(loop.writer_usd),
        judge_usd=_sum(loop.judge_usd),
        generated=loop.generated,
    )


class _Loop:
    """The trials and revisions of one call."""

    def __init__(
        self,
        folder: TraitFolder,
        settings: ExperimentSettings,
        bench: Workbench,
        experiment: ExperimentFolder,
        n_questions: int,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self.revisions: list[Revision] = []
        self.judge_usd: list[float | None] = []
        self.writer_usd: list[float | None] = []
        self.generated = 0
        self._folder, self._settings, self._bench = folder, settings, bench
        self._experiment, self._n_questions, self._on_trial = experiment, n_questions, on_trial
        self._reworded: set[str] = set()
        self.trial = self._try()

    def reword(
        self,
        writer: Writer | None,
        rounds: int,
        max_usd: float,
        seed: int,
        confirm: Callable[[Trial, Sequence[Change]], bool],
        say: Callable[[str], None],
    ) -> Ending:
        """Reword and try again until one of the endings."""
        for number in range(rounds + 1):
            trial = self.trial
            if trial.unfinished or trial.contrast.value is None:
                return "unfinished"
            if not trial.to_reword:
                return "reached"
            if writer is None:
                return "no writer"
            if number == rounds:
                return "rounds"
            spent = _sum(self.writer_usd) or 0.0
            if not self._reword_once(writer, max_usd - spent, seed + number, confirm, say):
                return "refused"
            if not self.revisions[-1].has_moved:
                return "did not move"
        raise AssertionError("the loop returns in its last round")

    def drop(self, confirm: Callable[[Trial, Sequence[Change]], bool]) -> None:
        """Drop what elicits nothing."""
        named = self.trial.elicit_nothing
        changes = [Change(place=item.place, before=_texts(item), after=[]) for item in named]
        if not changes:
            return
        pairs, questions = self._numbers(named)
        record = {"by": "traitvec", "date": _now(), "dropped": [item.place for item in named]}
        data = changed_definition(
            self._folder, self._settings.elicitation, without_pairs=pairs,
            without_questions=questions, record=record,
        )  # fmt: skip
        if not confirm(self.trial, changes):
            return
        earlier = replace_definition(self._folder, data)
        self.revisions.append(
            Revision(
                changes=changes, earlier=earlier, usd=0.0,
                contrast_before=self.trial.contrast.value,
            )
        )  # fmt: skip
        # The numbers behind a dropped text, and so the ids of their responses, have changed.
        reused, planned = count_reused(self._folder, self._settings)
        self.trial = self.trial.model_copy(update={"reused_by_run": reused, "planned": planned})

    def _reword_once(
        self,
        writer: Writer,
        max_usd: float,
        seed: int,
        confirm: Callable[[Trial, Sequence[Change]], bool],
        say: Callable[[str], None],
    ) -> bool:
        """Reword once and try again; returns False if the user did not want it."""
        before, chosen = self.trial, self.trial.to_reword
        weak: dict[str, dict[int, str]] = {}
        for item in chosen:
            weak.setdefault(self._key(item), {})[item.number] = IDLE
        written = reword(
            self._folder.definition(), weak, writer, max_usd=max_usd, seed=seed,
            experiment=self._experiment, say=say,
        )  # fmt: skip
        self.writer_usd.append(written.usd)
        changes = [
            Change(
                place=item.place,
                before=_texts(item),
                after=_listed(written.new[self._key(item)][item.number]),
            )
            for item in chosen
        ]
        record = {
            "by": "traitvec", "date": _now(), "model": writer.name, "provider": writer.provider,
            "server": writer.address, "prompt_version": PROMPT_VERSION, "seed": seed,
            "reworded": [item.place for item in chosen], "calls": written.calls,
            "tokens_in": written.tokens_in, "tokens_out": written.tokens_out, "usd": written.usd,
        }  # fmt: skip
        data = changed_definition(
            self._folder, self._settings.elicitation, new=written.new, record=record
        )  # fmt: skip
        if not confirm(before, changes):
            return False
        old = self._folder.read_definition_bytes()
        earlier = replace_definition(self._folder, data)
        remove_draft(written.key, self._experiment)
        revision = Revision(
            changes=changes, earlier=earlier, usd=written.usd, contrast_before=before.contrast.value
        )
        self.revisions.append(revision)
        self._reworded |= {item.place for item in chosen}
        self.trial = self._try()
        revision.contrast_after = self.trial.contrast.value
        gains = _gains(chosen, self.trial)
        revision.has_moved = _have_moved(gains)
        if gains and sum(after - then for then, after in gains) < 0:
            replace_definition(self._folder, old)
            revision.is_undone = True
            self._reworded -= {item.place for item in chosen}
            self.trial = self._try()
        return True

    def _try(self) -> Trial:
        trial = run_trial(
            self._folder, self._settings, self._bench, n_questions=self._n_questions,
            reworded=self._reworded,
        )  # fmt: skip
        self.judge_usd.append(trial.judge_usd)
        self.generated += trial.generated
        self._on_trial(trial)
        return trial

    def _key(self, item: Tried) -> str:
        return PAIRS_KEY[self._settings.elicitation] if item.opposite else "questions"

    @staticmethod
    def _numbers(items: Sequence[Tried]) -> tuple[list[int], list[int]]:
        return (
            [item.number for item in items if item.opposite],
            [item.number for item in items if not item.opposite],
        )


def _gains(chosen: Sequence[Tried], trial: Trial) -> list[tuple[float, float]]:
    """Return the contrasts of the reworded places before and after, combination by combination."""
    now = {item.place: item for item in (*trial.pairs, *trial.questions)}
    gains = []
    for item in chosen:
        after = now[item.place].by_other if item.place in now else {}
        gains += [(v, after[other]) for other, v in item.by_other.items() if other in after]
    return gains


def _have_moved(gains: Sequence[tuple[float, float]]) -> bool:
    if len(gains) < 2:
        return False
    before, after = zip(*gains, strict=True)
    if len({round(b - a, 9) for b, a in gains}) == 1:
        # Without any spread there is no test.
        return bool(after[0] > before[0])
    return float(ttest_rel(after, before, alternative="greater").pvalue) <= _SIGNIFICANCE


def _texts(item: Tried) -> list[str]:
    return [item.text, item.opposite] if item.opposite else [item.text]


def _listed(text: InstructionPair | str) -> list[str]:
    return [text] if isinstance(text, str) else [text.pos, text.neg]


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [usd for usd in amounts if usd is not None]
    return math.fsum(known) if len(known) == len(amounts) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
