"""The stages on disk: what each is made from, whether it is fresh, and how it is made.

`make` is all that Dagster's assets call, and all that a notebook needs to run a trait without it.
"""

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.failures import KEY_NAMES, redacted
from traitvec_core.model_files import LoadOptions, model_fingerprint
from traitvec_core.provenance import (
    STAGES,
    Cost,
    Provenance,
    Stage,
    content_hash,
    stage_key,
    stage_settings,
)
from traitvec_core.store import TraitFolder, dump_json, dump_tensor, response_csvs, shown

if TYPE_CHECKING:
    import pandas as pd

    from traitvec_core.judging.judge import JudgedResponses
    from traitvec_core.judging.judgement_store import JudgementStore, Origin
    from traitvec_core.language_model import LanguageModel
    from traitvec_core.trait import TraitDefinition

__all__ = ["Made", "Workbench", "make", "stage_states"]

State = Literal["fresh", "partial", "stale", "missing", "broken"]


class Progress(Protocol):
    """Told how far a stage is."""

    def __call__(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Take note; `note` is what there is to say besides the count."""
        ...


@dataclass
class Workbench:
    """What stages stand on besides their inputs.

    Attributes:
        load_model: From a name and options to a loaded model; hand in a cache to share one.
        progress: Called with the stage, what is done, the total, and perhaps a note.
        say: Told what else a user should know while it happens.
    """

    load_model: "Callable[[str, LoadOptions], LanguageModel] | None" = None
    progress: Progress = field(default=lambda stage, done, total, note="": None)
    say: Callable[[str], None] = field(default=lambda text: None)

    def model(self, name: str, options: LoadOptions) -> "LanguageModel":
        """Return a loaded model."""
        if self.load_model is not None:
            return self.load_model(name, options)
        from traitvec_core.language_model import load_language_model

        return load_language_model(name, **vars(options))


@dataclass(frozen=True)
class Made:
    """A finished stage.

    Attributes:
        provenance: Its provenance.
        is_reused: Whether it was fresh already and nothing was done.
    """

    provenance: Provenance
    is_reused: bool


def make(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, bench: Workbench | None = None
) -> Made:
    """Make one stage of one trait from what the stages before it left, unless it is fresh.

    Args:
        stage: Any stage but `definition`, which the user writes.
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.

    Raises:
        TraitvecError: If the definition or an earlier stage cannot be used.
    """
    inputs = _inputs(stage, folder, settings)
    chosen = stage_settings(stage, settings)
    key = stage_key(stage, inputs, chosen)
    before = folder.provenance(stage)
    if _is_whole(before, key) and folder.is_intact(before):
        return Made(before, is_reused=True)
    provenance = Provenance(stage=stage, key=key, inputs=inputs, settings=chosen)
    work = _Work(folder, settings, bench or Workbench(), provenance)
    started = time.monotonic()
    with _no_key_in_tracebacks():
        files, metadata = _MAKERS[stage](work)
    provenance.cost.seconds = round(time.monotonic() - started, 3)
    done = folder.commit(stage, files, metadata, provenance)
    folder.journal(stage, key).remove()
    return Made(done, is_reused=False)


def stage_states(folder: TraitFolder, settings: ExperimentSettings) -> dict[Stage, State]:
    """Tell of every stage whether it is fresh, stale or missing, by hashes alone.

    A stage behind one that is not fresh is stale at best. `partial` is one that could not finish
    all of its work (a spent budget, a server that failed) and goes on with it in the next run.
    `broken` is a definition with problems.
    """
    states: dict[Stage, State] = {}
    upstream_fresh = True
    for stage in STAGES:
        states[stage] = _state(stage, folder, settings, upstream_fresh)
        upstream_fresh = upstream_fresh and states[stage] == "fresh"
    return states


def _state(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, upstream_fresh: bool
) -> State:
    if stage == "definition":
        try:
            folder.definition()
        except TraitvecError:
            return "broken" if folder.definition_path.exists() else "missing"
        return "fresh"
    provenance = folder.provenance(stage)
    if provenance is None:
        return "missing"
    try:
        key = stage_key(stage, _inputs(stage, folder, settings), stage_settings(stage, settings))
    except TraitvecError:
        return "stale"
    if not (upstream_fresh and provenance.key == key and folder.is_intact(provenance)):
        return "stale"
    return "fresh" if provenance.is_complete else "partial"


@contextmanager
def _no_key_in_tracebacks() -> Iterator[None]:
    """Whatever breaks, and whatever it says: tracebacks are kept, and keys must not be in them."""
    try:
        yield
    except TraitvecError:
        raise
    except Exception as error:
        whole = "".join(traceback.format_exception(error))
        keys = [os.environ.get(name, "").strip() for name in KEY_NAMES]
        if not any(key and key in whole for key in keys):
            raise
        said = f"{type(error).__name__}: {redacted(str(error))}"
        # What it was raised from holds the key perhaps, and is left out.
        raise RuntimeError(said).with_traceback(error.__traceback__) from None


def _is_whole(provenance: Provenance | None, key: str) -> TypeGuard[Provenance]:
    return provenance is not None and provenance.key == key and provenance.is_complete


def _inputs(stage: Stage, folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """Content hashes of everything that a stage is made from."""

    def content(earlier: Stage) -> str:
        provenance = folder.provenance(earlier)
        if provenance is None:
            raise TraitvecError(
                f"{shown(folder.path)}: {stage} needs {earlier}, which has not been made yet;"
                f" materialize {earlier} first (`traitvec run --experiment {folder.experiment}"
                f" --trait {folder.name} --select {earlier}+`)"
            )
        return provenance.content

    if stage == "responses":
        return {
            "elicitation": folder.definition().elicitation_hash,
            "model": model_fingerprint(settings.model, settings.revision),
        }
    if stage == "judged_responses":
        return {
            "responses": content("responses"),
            "rubric": folder.definition().rubric_hash,
            **_judging_inputs(folder, settings),
        }
    if stage == "activations":
        return {
            "judged_responses": content("judged_responses"),
            "model": model_fingerprint(settings.model, settings.revision),
        }
    if stage == "vectors":
        return {"activations": content("activations")}
    if stage == "validation_report":
        # The page opens with the description.
        described = {"description": content_hash(folder.definition().description)}
        earlier: tuple[Stage, ...] = ("judged_responses", "activations", "vectors")
        return {name: content(name) for name in earlier} | described
    raise ValueError(f"{stage} is not made from anything")


def _judging_inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    from traitvec_core.judging.load import judge_fingerprint
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

    found = {
        "coherence_rubric": content_hash(COHERENCE_RUBRIC),
        "judge": judge_fingerprint(settings),
    }
    if settings.second_judge is not None:
        found["second_judge"] = judge_fingerprint(settings, settings.second_judge)
    for name, other in _also_judged(folder, settings).items():
        found[f"rubric of {name}"] = other.rubric_hash
    human = folder.human_scores()
    if human is not None:
        found["human_scores"] = content_hash(human)
    return found


def _also_judged(folder: TraitFolder, settings: ExperimentSettings) -> "dict[str, TraitDefinition]":
    """The other traits whose rubrics are put to this trait's responses."""
    return {
        name: folder.sibling(name).definition()
        for name in settings.also_judge
        if name != folder.name
    }


@dataclass(frozen=True)
class _Work:
    folder: TraitFolder
    settings: ExperimentSettings
    bench: Workbench
    provenance: Provenance

    @property
    def loading(self) -> LoadOptions:
        settings = self.settings
        return LoadOptions(
            revision=settings.revision,
            dtype=settings.dtype,
            attention=settings.attention,
            quantization=settings.quantization,
            trust_remote_code=settings.trust_remote_code,
        )

    def generator(self) -> "LanguageModel":
        return self.bench.model(self.settings.model, self.loading)

    def judge(self, name: str) -> "LanguageModel":
        if name == self.settings.model:
            return self.generator()
        return self.bench.model(name, LoadOptions(dtype=self.settings.dtype))

    @property
    def cost(self) -> Cost:
        return self.provenance.cost

    @property
    def stage(self) -> Stage:
        return self.provenance.stage

    @property
    def batch_size(self) -> int | None:
        size = self.settings.batch_size
        return None if size == "auto" else size


_Result = tuple[dict[str, bytes], dict[str, Any]]


def _make_responses(work: _Work) -> _Result:
    from traitvec_core.generation import (
        EngineOptions,
        generate_responses,
        load_engine,
        plan_responses,
    )
    from traitvec_core.validation.response_counts import count_responses

    settings = work.settings
    definition = work.folder.definition()
    planned = plan_responses(work.folder.name, definition, settings.n_examples)
    journal = work.folder.journal("responses", work.provenance.key)
    finished = journal.rows()
    done = len(finished)
    work.bench.progress("responses", done, len(planned))

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        journal.append(rows)
        done += len(rows)
        work.bench.progress("responses", min(done, len(planned)), len(planned))

    engine = load_engine(
        settings.engine,
        EngineOptions(
            settings.model, work.generator, work.loading, work.batch_size, settings.engine_url
        ),
    )
    try:
        responses = generate_responses(
            engine,
            planned,
            settings.sampling,
            instruction_role=settings.instruction_role,
            finished=finished,
            on_batch=keep,
        )
    finally:
        engine.close()
    model = engine.language_model
    work.cost.tokens_in = int(responses["prompt_tokens"].sum())
    work.cost.tokens_out = int(responses["response_tokens"].sum())
    loaded = model.as_loaded if engine.name == "transformers" else {}
    return response_csvs(responses, "raw_"), {
        "model": settings.model,
        "engine": engine.name,
        "model_revision": model.revision,
        **loaded,
        "instruction_role": model.role(settings.instruction_role),
        "n_examples": settings.n_examples,
        "counts": count_responses(responses),
        "resumed_from": len(finished),
        "model_load_seconds": round(model.load_seconds, 3),
    }


def _make_judged_responses(work: _Work) -> _Result:
    from traitvec_core.judging.judge import judge_responses
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore, Origin
    from traitvec_core.judging.load import load_judge

    settings, folder = work.settings, work.folder
    definition = folder.definition()
    responses = folder.read_responses("responses")
    origin = Origin(folder.experiment, folder.name)
    also = _also_judged(folder, settings)

    def progress(done: int, total: int, paid: Cost) -> None:
        note = f"${paid.usd:.4f}" if paid.usd else ""
        work.bench.progress("judged_responses", done, total, note)

    with JudgementStore(folder.path.parent.parent / JUDGEMENTS_FILE) as store:
        judge = load_judge(
            settings, store, load_model=work.judge, experiment=folder.experiment,
            say=work.bench.say,
        )  # fmt: skip
        judged = judge_responses(
            judge, definition, responses, store=store, origin=origin, also=also,
            is_about_refusing=_is_about_refusing(folder.name, definition), on_progress=progress,
        )  # fmt: skip
        compared = _compared(work, judged, store, origin)
        spent_usd = store.spent_usd(folder.experiment)
    work.provenance.cost = judged.cost
    work.provenance.is_complete = not judged.unfinished
    table = judged.table
    reasons = {
        name: table.loc[table[column] != "", column].value_counts().to_dict()
        for name, column in (("trait", "judge_reason"), ("coherence", "coherence_reason"))
    }
    return response_csvs(table, ""), {
        "judge_model": judge.name,
        "judge": json.loads(judge.identity),
        "judge_mode": settings.judge_mode,
        "trait_status": table["judge_status"].value_counts().to_dict(),
        "coherence_status": table["coherence_status"].value_counts().to_dict(),
        "missing_reasons": reasons,
        "also_judged": sorted(also),
        "asked_now": judged.n_asked,
        "paid_now": judged.paid.model_dump(mode="json"),
        "unfinished": judged.unfinished,
        "experiment_spent_usd": round(spent_usd, 6),
        "compared": compared,
    }


def _is_about_refusing(name: str, definition: "TraitDefinition") -> bool:
    """Whether a judge that answers REFUSAL speaks of the trait itself."""
    return any("refus" in text.lower() for text in (name, definition.name))


def _compared(
    work: _Work, judged: "JudgedResponses", store: "JudgementStore", origin: "Origin"
) -> list[dict[str, Any]]:
    """The judge's scores of a sample beside a second judge's, people's and its own."""
    from traitvec_core.judging.agreement import agreement_sample, parse_human_scores
    from traitvec_core.judging.judge import score_prompts
    from traitvec_core.judging.load import load_judge
    from traitvec_core.judging.reading import ANSWERED_REFUSAL
    from traitvec_core.trait import fill_rubric

    settings, table = work.settings, judged.table
    rubric = work.folder.definition().eval_prompt
    sample = agreement_sample(table, settings.agreement_sample)
    prompts = [
        fill_rubric(rubric, row["question"], row["response"]) for row in sample.to_dict("records")
    ]
    sources = {
        prompt: ("trait", name) for prompt, name in zip(prompts, sample["question_id"], strict=True)
    }

    def again(model: str | None, repeat: int) -> list[list[Any]]:
        judge = load_judge(
            settings, store, name=model, load_model=work.judge, experiment=origin.experiment,
            say=work.bench.say,
        )  # fmt: skip
        found, paid, n_asked = score_prompts(
            judge, sources, store=store, origin=origin, repeat=repeat,
            on_progress=lambda done, total, paid: work.bench.progress(
                "judged_responses", done, total, f"sample by {judge.name}"
            ),
        )  # fmt: skip
        judged.paid = judged.paid + paid
        judged.n_asked += n_asked
        for judgement in found.values():
            judged.cost = judged.cost + Cost(
                tokens_in=judgement.tokens_in, tokens_out=judgement.tokens_out, usd=judgement.usd
            )
            if not judgement.is_final:
                judged.unfinished[judgement.reason] = judged.unfinished.get(judgement.reason, 0) + 1
        is_refusing = _is_about_refusing(work.folder.name, work.folder.definition())
        second = [
            # As in the table: for a trait that is about refusing, the word is the highest score.
            100.0 if is_refusing and judgement.reason == ANSWERED_REFUSAL else judgement.score
            for judgement in (found[prompt] for prompt in prompts)
        ]
        return [
            list(row)
            for row in zip(sample["question_id"], sample["trait_score"], second, strict=True)
        ]

    compared = []
    if settings.second_judge is not None:
        compared.append({"with": settings.second_judge, "scores": again(settings.second_judge, 0)})
    if settings.judge_repeats:
        repeats = [row for k in range(settings.judge_repeats) for row in again(None, k + 1)]
        compared.append({"with": "itself, asked again", "scores": repeats})
    human = work.folder.human_scores()
    if human is not None:
        where = shown(work.folder.human_scores_path)
        scores = parse_human_scores(human, where, set(table["question_id"]))
        rated = table[table["question_id"].isin(scores)]
        pairs = zip(rated["question_id"], rated["trait_score"], strict=True)
        compared.append(
            {"with": "human scores", "scores": [[name, x, scores[name]] for name, x in pairs]}
        )
    return compared


def _make_activations(work: _Work) -> _Result:
    import torch

    from traitvec_core.activations import capture_means, pack
    from traitvec_core.generation import close_thinking

    settings = work.settings
    kept = _kept(work)
    model = work.generator()
    prompts = kept["prompt"].map(close_thinking)
    texts = list(zip(prompts, kept["response"], strict=True))
    means = capture_means(
        model, texts, positions=settings.positions,
        on_batch=lambda done: work.bench.progress("activations", done, len(texts)),
    )  # fmt: skip
    # A kept response may have no token that counts (white space, special tokens): it has no mean.
    present = ~torch.stack([m.isnan().flatten(1).all(1) for m in means.values()]).any(0)
    examples = kept[present.numpy()]
    if examples["pole"].nunique() < 2:
        raise TraitvecError(
            f"{shown(work.folder.path)}: no response of one pole has any token left"
        )
    stored = {name: pack(values[present]) for name, values in means.items()}
    first, *others = settings.positions
    work.cost.tokens_in = int(kept["prompt_tokens"].sum() + kept["response_tokens"].sum())
    files = {"activations/all_layers.pt": dump_tensor(stored[first])}
    files |= {f"activations/{name}.pt": dump_tensor(stored[name]) for name in others}
    return files, {
        "model": settings.model,
        **model.as_loaded,
        "n_examples": len(examples),
        "n_layers": model.n_layers,
        "hidden_dim": model.hidden_dim,
        "threshold": settings.threshold,
        "extraction_date": _now(),
        "storage_type": "token_averaged",
        "dtype": str(stored[first].dtype).removeprefix("torch."),
        "position": first,
        "other_positions": others,
        "layers": "row k is the residual stream after block k, before the final norm; row 0 is the"
        " embedding output",
        "min_coherence": settings.min_coherence,
        "n_positive": int((examples["pole"] == "pos").sum()),
        "n_negative": int((examples["pole"] == "neg").sum()),
        "without_tokens": int((~present).sum()),
        "mean_norm_by_layer": stored[first].float().norm(dim=-1).mean(0).tolist(),
        "question_ids": examples["question_id"].tolist(),
    }


def _make_vectors(work: _Work) -> _Result:
    import numpy as np

    from traitvec_core.validation.elicitation import question_of
    from traitvec_core.validation.recommend import recommend
    from traitvec_core.validation.separation import measure_separation
    from traitvec_core.vectors import MethodOptions, extract_vectors

    settings = work.settings
    captured = work.folder.metadata("activations")
    activations = work.folder.read_activations()
    groups = np.array([question_of(name) for name in captured["question_ids"]])
    is_positive = np.arange(len(groups)) < captured["n_positive"]
    n_blocks = activations.shape[1] - 1
    layers = list(range(1, n_blocks + 1)) if settings.layers == "all" else list(settings.layers)
    options = MethodOptions(
        seed=settings.sampling.seed,
        gradient_penalty=settings.gradient_penalty,
        gradient_objective=settings.gradient_objective,
        probe_penalty=settings.probe_penalty,
    )
    done, total = 0, len(layers) + len({0, *layers})

    def tick(_layer: int) -> None:
        nonlocal done
        done += 1
        work.bench.progress("vectors", done, total)

    vectors = extract_vectors(
        activations, is_positive, groups, layers=layers, methods=settings.methods,
        scale=settings.scale, options=options, on_layer=tick,
    )  # fmt: skip
    separation = measure_separation(
        activations, is_positive, groups, layers=layers, methods=settings.methods,
        options=options, on_layer=tick,
    )  # fmt: skip
    recommendation = recommend(separation, [(v.method, v.layer) for v in vectors])
    date = _now()
    files: dict[str, bytes] = {}
    table = []
    for vector in vectors:
        score = separation.of(vector.method, vector.layer)
        metadata = {
            "trait": work.folder.name,
            "method": vector.method,
            "layer": vector.layer,
            "model": captured["model"],
            "vector_norm": vector.vector_norm,
            "train_accuracy": vector.train_accuracy,
            "extraction_date": date,
            "raw_norm": vector.raw_norm,
            "relative_norm": vector.relative_norm,
            "separation": vector.separation,
            "scale": settings.scale,
            "held_out_accuracy": score and score.accuracy,
            "held_out_auroc": score and score.auroc,
            "held_out_effect_size": score and score.effect_size,
            "n_positive": captured["n_positive"],
            "n_negative": captured["n_negative"],
        }
        stem = f"vectors/{vector.method}_layer{vector.layer}"
        files[f"{stem}.pt"] = dump_tensor(vector.vector)
        # The key ties each file to the run that made it; the manifest holds the whole record.
        files[f"{stem}_metadata.json"] = dump_json({**metadata, "key": work.provenance.key})
        table.append(metadata)
    return files, {
        "trait": work.folder.name,
        "model": captured["model"],
        "recommended": recommendation and recommendation.model_dump(),
        "separation": separation.model_dump(),
        "vectors": table,
    }


def _make_validation_report(work: _Work) -> _Result:
    from traitvec_core.report import build_report

    judged = work.folder.read_responses()
    page, report = build_report(
        experiment=work.folder.experiment,
        trait=work.folder.name,
        definition=work.folder.definition(),
        settings=work.settings,
        judged=judged,
        judging=work.folder.metadata("judged_responses"),
        captured=work.folder.metadata("activations"),
        extracted=work.folder.metadata("vectors"),
        activations=work.folder.read_activations(),
    )
    recommended = json.dumps(report["recommended"], indent=2) + "\n"
    return {
        "validation/report.html": page.encode("utf-8", "replace"),
        "validation/recommended.json": recommended.encode(),
    }, report


def _kept(work: _Work) -> "pd.DataFrame":
    from traitvec_core.validation.elicitation import keep_mask

    judged = work.folder.read_responses()
    kept = judged[keep_mask(judged, work.settings.threshold, work.settings.min_coherence)]
    counts = {pole: int((kept["pole"] == pole).sum()) for pole in ("pos", "neg")}
    if not all(counts.values()):
        raise TraitvecError(
            f"{shown(work.folder.path)}: the filter keeps {counts['pos']} positive and"
            f" {counts['neg']} negative responses, and a direction needs both; see the checks of"
            " judged_responses"
        )
    ordered: pd.DataFrame = kept.reset_index(drop=True)
    return ordered


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_MAKERS: dict[Stage, Callable[[_Work], _Result]] = {
    "responses": _make_responses,
    "judged_responses": _make_judged_responses,
    "activations": _make_activations,
    "vectors": _make_vectors,
    "validation_report": _make_validation_report,
}
