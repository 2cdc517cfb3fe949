"""What a stage gets to work with: the trait's folder, settings, models, progress, provenance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import LoadOptions
from traitvec_core.stage_names import RedoKind, Stage
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import Cost, Provenance

if TYPE_CHECKING:
    from traitvec_core.generation import GenerationEngine
    from traitvec_core.judging.judge import Judge
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["Progress", "SecondsLeft", "StageContext", "StageOutput", "Workbench", "now"]

StageOutput = tuple[dict[str, bytes], dict[str, Any]]
"""File contents by path below the trait's folder, and the stage's metadata."""


SecondsLeft = float | Literal["by rate"] | None
"""Time left in seconds, None while it is not known, or `by rate`: as the units so far took."""


class Progress(Protocol):
    """Receives how far a stage is."""

    def __call__(
        self,
        stage: Stage,
        done: int,
        total: int,
        note: str = "",
        *,
        left_s: SecondsLeft = "by rate",
    ) -> None:
        """Report `done` of `total` units as finished; `note` adds what the count leaves out.

        `left_s` is the time left in seconds where the rate of the units does not give it.
        """
        ...


@dataclass
class Workbench:
    """What stages need besides their inputs: models, and somewhere to report progress.

    Attributes:
        load_model: Returns a loaded model for a name and options; pass a cached one to share it.
        claim_gpu: Called before an engine that loads its own model takes a GPU.
        progress: Called as work gets done.
        say: Called with a line that the user should see while the stage runs.
    """

    load_model: "Callable[[str, LoadOptions], LanguageModel] | None" = None
    claim_gpu: Callable[[], None] = field(default=lambda: None)
    progress: Progress = field(default=lambda stage, done, total, note="", left_s="by rate": None)
    say: Callable[[str], None] = field(default=lambda text: None)

    def model(self, name: str, options: LoadOptions) -> "LanguageModel":
        """Return a loaded model."""
        if self.load_model is not None:
            return self.load_model(name, options)
        from traitvec_core.models.language_model import load_language_model

        return load_language_model(name, **vars(options))


@dataclass(frozen=True)
class StageContext:
    """One stage of one trait while it is being made.

    Attributes:
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.
        provenance: The stage's provenance; the stage fills in its cost.
        redo: How it is made again although it is fresh; None if it is not.
    """

    folder: TraitFolder
    settings: ExperimentSettings
    bench: Workbench
    provenance: Provenance
    redo: RedoKind | None = None

    @property
    def loading(self) -> LoadOptions:
        """Options for loading the experiment's model."""
        return self.settings.load_options

    def generator(self) -> "LanguageModel":
        """The experiment's model, loaded."""
        return self.bench.model(self.settings.model, self.loading)

    def engine(self) -> "GenerationEngine":
        """The experiment's engine, ready to generate; the caller closes it."""
        from traitvec_core.generation import engine_of

        bench = self.bench
        return engine_of(self.settings, self.generator, claim_gpu=bench.claim_gpu, say=bench.say)

    def reading_engine(self) -> "GenerationEngine":
        """The engine that reads and steers: the model in this process where another only writes."""
        from traitvec_core.generation import reading_engine_of

        bench = self.bench
        return reading_engine_of(
            self.settings, self.generator, claim_gpu=bench.claim_gpu, say=bench.say
        )

    def judge(self, name: str) -> "LanguageModel":
        """A model that judges in process, loaded."""
        if name == self.settings.model:
            return self.generator()
        return self.bench.model(name, LoadOptions(dtype=self.settings.dtype))

    def open_judgements(self) -> "JudgementStore":
        """Open the store of judgements, which all experiments of the folder share.

        Where `judged_responses` is redone, its judgements count as unknown, but for those that the
        same redo has made before it was interrupted: they are in the stage's journal.
        """
        from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore

        path = self.folder.path.parent.parent / JUDGEMENTS_FILE
        if self.redo is None or self.stage != "judged_responses":
            return JudgementStore(path)
        journal = self.folder.journal(self.stage, self.provenance.key)
        return JudgementStore(
            path,
            redo=self.redo,
            redone=[str(row["redone"]) for row in journal.rows() if "redone" in row],
            on_redone=lambda keys: journal.append([{"redone": key} for key in keys]),
        )

    def load_judge(
        self,
        store: "JudgementStore",
        *,
        name: str | None = None,
        also: Iterable[str] = (),
        is_live: bool = False,
    ) -> "Judge":
        """Load the trait's judge; a panel where coherence or other traits have their own.

        Args:
            store: The judgements that are known already.
            name: Only this judge, such as the second one.
            also: Other traits whose rubrics are applied.
            is_live: Send one call per judgement, whatever `judge_mode` says.
        """
        from traitvec_core.judging.load import check_judge, load_judge
        from traitvec_core.judging.panel import JudgePanel

        changes: dict[str, Any] = {"judge_mode": "live"} if is_live else {}
        if self.stage != "judged_responses":
            # Nobody else compares judges, so the second one's key may be missing.
            changes["second_judge"] = None
        settings = self.settings.model_copy(update=changes)
        experiment_path = self.folder.path.parent
        loaded: dict[str, Judge] = {}

        def load(judge: str) -> "Judge":
            if judge not in loaded:
                loaded[judge] = load_judge(
                    settings, store, name=judge, load_model=self.judge,
                    experiment=self.folder.experiment, say=self.bench.say,
                    folder=experiment_path, claim_gpu=self.bench.claim_gpu,
                )  # fmt: skip
            return loaded[judge]

        if name is not None:
            return load(name)
        # Those of other traits too: a missing key must not end a run halfway.
        check_judge(settings, [self.folder.name, *also])
        own, coherence = settings.judge_of(self.folder.name), settings.judge_of_coherence
        if all(judge == own for judge in (coherence, *map(settings.judge_of, also))):
            return load(own)
        return JudgePanel(load(own), load(coherence), lambda trait: load(settings.judge_of(trait)))

    @property
    def cost(self) -> Cost:
        """What the stage has spent."""
        return self.provenance.cost

    @property
    def stage(self) -> Stage:
        """The stage."""
        return self.provenance.stage

    @property
    def batch_size(self) -> int | None:
        """Rows per batch, or None to fit the batch to the device."""
        size = self.settings.batch_size
        return None if size == "auto" else size


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
