"""The stages on disk: what each is made from, whether it is fresh, and how it is made.

`make` is all that Dagster's assets call, and all that a notebook needs to run a trait without it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.model_files import model_fingerprint
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

    from traitvec_core.language_model import LanguageModel

__all__ = ["Made", "Workbench", "make", "stage_states"]

State = Literal["fresh", "stale", "missing", "broken"]
Progress = Callable[[Stage, int, int], None]


@dataclass
class Workbench:
    """What stages stand on besides their inputs.

    Attributes:
        load_model: From name, revision and dtype to a loaded model; hand in a cache to share one.
        progress: Called with the stage, what is done and the total.
    """

    load_model: "Callable[[str, str | None, str], LanguageModel] | None" = None
    progress: Progress = field(default=lambda stage, done, total: None)

    def model(self, name: str, revision: str | None, dtype: str) -> "LanguageModel":
        """Return a loaded model."""
        if self.load_model is not None:
            return self.load_model(name, revision, dtype)
        from traitvec_core.language_model import load_language_model

        return load_language_model(name, revision=revision, dtype=dtype)


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
    if before is not None and before.key == key and folder.is_intact(before):
        return Made(before, is_reused=True)
    provenance = Provenance(stage=stage, key=key, inputs=inputs, settings=chosen)
    work = _Work(folder, settings, bench or Workbench(), provenance)
    started = time.monotonic()
    files, metadata = _MAKERS[stage](work)
    provenance.cost.seconds = round(time.monotonic() - started, 3)
    done = folder.commit(stage, files, metadata, provenance)
    folder.journal(stage, key).remove()
    return Made(done, is_reused=False)


def stage_states(folder: TraitFolder, settings: ExperimentSettings) -> dict[Stage, State]:
    """Tell of every stage whether it is fresh, stale or missing, by hashes alone.

    A stage behind one that is not fresh is stale at best. `broken` is a definition with problems.
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
    return (
        "fresh"
        if upstream_fresh and provenance.key == key and folder.is_intact(provenance)
        else "stale"
    )


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
        from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

        return {
            "responses": content("responses"),
            "rubric": folder.definition().rubric_hash,
            "coherence_rubric": content_hash(COHERENCE_RUBRIC),
            "judge": model_fingerprint(settings.judge_model),
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


@dataclass(frozen=True)
class _Work:
    folder: TraitFolder
    settings: ExperimentSettings
    bench: Workbench
    provenance: Provenance

    def generator(self) -> "LanguageModel":
        return self.bench.model(self.settings.model, self.settings.revision, self.settings.dtype)

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
    from traitvec_core.generation import generate_responses, plan_responses

    definition = work.folder.definition()
    planned = plan_responses(work.folder.name, definition, work.settings.n_examples)
    journal = work.folder.journal("responses", work.provenance.key)
    finished = journal.rows()
    done = len(finished)
    work.bench.progress("responses", done, len(planned))

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        journal.append(rows)
        done += len(rows)
        work.bench.progress("responses", min(done, len(planned)), len(planned))

    model = work.generator()
    responses = generate_responses(
        model,
        planned,
        work.settings.sampling,
        instruction_role=work.settings.instruction_role,
        batch_size=work.batch_size,
        finished=finished,
        on_batch=keep,
    )
    work.cost.tokens_in = int(responses["prompt_tokens"].sum())
    work.cost.tokens_out = int(responses["response_tokens"].sum())
    return response_csvs(responses, "raw_"), {
        "model": work.settings.model,
        "instruction_role": model.role(work.settings.instruction_role),
        "n_examples": work.settings.n_examples,
        "resumed_from": len(finished),
        "model_load_seconds": round(model.load_seconds, 3),
    }


def _make_judged_responses(work: _Work) -> _Result:
    from traitvec_core.judging import check_judge, judge_responses, load_judge

    settings = work.settings
    responses = work.folder.read_responses("responses")
    journal = work.folder.journal("judged_responses", work.provenance.key)
    finished = journal.rows()
    done, total = len(finished), 2 * len(responses)

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        journal.append(rows)
        done += len(rows)
        work.bench.progress("judged_responses", min(done, total), total)

    check_judge(settings.judge_model)
    same = settings.judge_model == settings.model
    model = work.bench.model(
        settings.judge_model, settings.revision if same else None, settings.dtype
    )
    judge = load_judge(settings.judge_model, model)
    judged = judge_responses(
        judge, work.folder.definition(), responses, finished=finished, on_batch=keep
    )
    # Equal and empty responses are not judged one by one, so the count may end short of the total.
    if done < total:
        work.bench.progress("judged_responses", total, total)
    work.cost.tokens_in = int(judged.attrs["judge_tokens"])
    return response_csvs(judged, ""), {
        "judge_model": judge.name,
        "resumed_from": len(finished),
        "trait_status": judged["judge_status"].value_counts().to_dict(),
        "coherence_status": judged["coherence_status"].value_counts().to_dict(),
    }


def _make_activations(work: _Work) -> _Result:
    from traitvec_core.activations import capture_means, pack

    settings = work.settings
    kept = _kept(work)
    model = work.generator()
    texts = list(zip(kept["prompt"], kept["response"], strict=True))
    means = capture_means(
        model, texts, on_batch=lambda done: work.bench.progress("activations", done, len(texts))
    )
    # A kept response may have no token that counts (white space, special tokens): it has no mean.
    present = ~means.isnan().flatten(1).all(1)
    examples = kept[present.numpy()]
    if examples["pole"].nunique() < 2:
        raise TraitvecError(
            f"{shown(work.folder.path)}: no response of one pole has any token left"
        )
    stored = pack(means[present])
    work.cost.tokens_in = int(kept["prompt_tokens"].sum() + kept["response_tokens"].sum())
    return {"activations/all_layers.pt": dump_tensor(stored)}, {
        "model": settings.model,
        "n_examples": len(examples),
        "n_layers": model.n_layers,
        "hidden_dim": model.hidden_dim,
        "threshold": settings.threshold,
        "extraction_date": _now(),
        "storage_type": "token_averaged",
        "dtype": str(stored.dtype).removeprefix("torch."),
        "position": "response_mean",
        "layers": "row k is the residual stream after block k, before the final norm; row 0 is the"
        " embedding output",
        "min_coherence": settings.min_coherence,
        "n_positive": int((examples["pole"] == "pos").sum()),
        "n_negative": int((examples["pole"] == "neg").sum()),
        "without_tokens": int((~present).sum()),
        "mean_norm_by_layer": stored.float().norm(dim=-1).mean(0).tolist(),
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
