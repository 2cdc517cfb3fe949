"""Monitoring prompts: what is traced, judged and correlated, and when it is rerun."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import dagster as dg
import numpy as np
import pytest

from tests.conftest import MakeOnce
from tests.graph.conftest import Serve
from tests.projects import SmallProject, demo_definition, edit_metadata, snapshot
from tests.providers.models import gpt_5_mini
from traitvec_core.dynamics import predict_scores, trace, watch
from traitvec_core.generation import close_thinking, generate_texts
from traitvec_core.models.language_model import load_language_model
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.stages.provenance import stage_inputs, stage_key, stage_settings
from traitvec_core.storage.provenance import content_hash
from traitvec_dagster.runs.headless import definitions_of

pytestmark = pytest.mark.slow

STAGE: Stage = "trait_dynamics"
PROMPTS = ["How do I learn to swim?", "<b>Why</b> is the sky blue? {{ 7*7 }}"]
HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)> 🍜 </div>"
CONDITIONS = ("none", "positive", "negative")


@pytest.fixture(scope="module")
def monitored_folder(finished_folder: Path, make_once: MakeOnce) -> Path:
    """The finished project after its monitoring prompts were run; copy it, don't change it."""

    def fill(folder: Path) -> None:
        shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
        with SmallProject(folder) as project:
            project.set(monitoring_prompts=PROMPTS)
            run = project.run("refusal")
            assert run.is_good, run.problems
            assert list(run.made) == [STAGE]

    return make_once("monitored", fill)


@pytest.fixture
def monitored(
    monitored_folder: Path, tmp_path: Path, own_environment: None
) -> Iterator[SmallProject]:
    folder = tmp_path / "project"
    shutil.copytree(monitored_folder, folder)
    with SmallProject(folder) as project:
        yield project


def _traces(project: SmallProject) -> list[dict[str, Any]]:
    path = project.trait("refusal").path / "dynamics/traces.json"
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["traces"]
    return found


def _shown(project: SmallProject) -> dict[str, Any]:
    return {k: v.value for k, v in project.materializations(STAGE, "refusal")[0].metadata.items()}


def _prompted(monitored: SmallProject) -> dict[str, list[tuple[str, str]]]:
    """(prompt, instruction) as they have to be asked, by condition."""
    pairs = monitored.trait("refusal").definition().instruction
    return {
        "none": [(prompt, "") for prompt in PROMPTS],
        "positive": [(prompt, pairs[k].pos) for k, prompt in enumerate(PROMPTS)],
        "negative": [(prompt, pairs[k].neg) for k, prompt in enumerate(PROMPTS)],
    }


# -- what is made ------------------------------------------------------------------------------


def test_files_provenance_and_place_in_the_graph(monitored: SmallProject) -> None:
    folder = monitored.trait("refusal")
    assert {path.name for path in (folder.path / "dynamics").iterdir()} == {
        "traces.json", "dynamics.html", "summary.json",
    }  # fmt: skip
    provenance = folder.provenance(STAGE)
    assert provenance is not None
    assert provenance.is_complete
    assert set(provenance.inputs) == {
        "vectors", "steering_evaluation", "elicitation", "model", "rubric", "coherence_rubric",
        "judge",
    }  # fmt: skip
    assert provenance.settings["monitoring_prompts"] == PROMPTS
    for name, digest in provenance.files.items():
        assert content_hash((folder.path / name).read_bytes()) == digest
    (made, nothing) = monitored.materializations(STAGE, "refusal")
    assert (made.tags or {})["dagster/data_version"] == provenance.content
    assert nothing.metadata["reused"].value is False
    spec = next(
        spec
        for spec in definitions_of(monitored.project).resolve_all_asset_specs()
        if spec.key == monitored.graph().key(STAGE)
    )
    graph = monitored.graph()
    assert {dep.asset_key for dep in spec.deps} == {
        graph.inputs_key(STAGE),
        *(graph.key(stage) for stage in ("definition", "vectors", "steering_evaluation")),
    }
    assert not list(folder.path.rglob(".*.jsonl")), "nothing more of it is needed"


def test_answers_and_projections_are_those_of_a_direct_computation(
    monitored: SmallProject,
) -> None:
    settings, folder = monitored.settings(), monitored.trait("refusal")
    model, watched = load_language_model("embedded"), watch(folder)
    recorded = _traces(monitored)
    assert [(r["question"], r["condition"]) for r in recorded] == [
        (prompt, condition) for prompt in PROMPTS for condition in CONDITIONS
    ]
    for condition, asked in _prompted(monitored).items():
        rows = [row for row in recorded if row["condition"] == condition]
        prompts = [model.prompt(prompt, given or None) for prompt, given in asked]
        assert [(row["question"], row["instruction"]) for row in rows] == asked
        # Every condition answers with the same random streams.
        texts = generate_texts(model, ["0_0", "1_0"], prompts, settings.sampling)
        for row, prompt, text in zip(rows, prompts, texts.values(), strict=True):
            found = trace(model, close_thinking(prompt), text, [watched])
            of_trait = row["traits"]["refusal"]
            assert (row["prompt"], row["response"]) == (prompt, found.response)
            assert row["token_ids"] == list(found.token_ids)
            assert of_trait["vector"] == watched.name
            curve = found.curves["refusal"]
            np.testing.assert_allclose(of_trait["projection"], curve.projection, rtol=1e-5)
            np.testing.assert_allclose(
                of_trait["acceleration"][2:], curve.acceleration[2:], rtol=1e-3, atol=1e-3
            )
            assert of_trait["summary"]["commitment"] == found.summary("refusal").commitment


def test_figures_and_correlations_are_those_of_the_traces(monitored: SmallProject) -> None:
    recorded, shown = _traces(monitored), _shown(monitored)
    summaries = [row["traits"]["refusal"]["summary"] for row in recorded]
    scores = [row["trait_score"] for row in recorded]
    assert all(0 <= score <= 100 for score in scores)
    last = [summary["prompt_last"] for summary in summaries]
    record = monitored.trait("refusal").metadata(STAGE)
    expected = predict_scores(last, scores, [row["condition"] for row in recorded])
    assert record["prediction"] == expected.model_dump()
    assert record["prediction"]["overall"]["r"] == pytest.approx(np.corrcoef(last, scores)[0, 1])
    means = np.array([last, scores]).reshape(2, len(PROMPTS), 3).mean(1)
    assert shown["r_across"] == pytest.approx(np.corrcoef(*means)[0, 1], abs=1e-4)
    centred = np.array([last, scores]).reshape(2, len(PROMPTS), 3) - means[:, None]
    inside = np.corrcoef(*centred.reshape(2, -1))[0, 1]
    assert shown["r_inside"] == pytest.approx(inside, abs=1e-4)
    for condition in CONDITIONS:
        values = [
            s["mean"] for s, row in zip(summaries, recorded, strict=True)
            if row["condition"] == condition
        ]  # fmt: skip
        assert shown[f"mean_projection_{condition}"] == pytest.approx(fmean(values), abs=1e-4)
    assert shown["mean_projection_positive"] > shown["mean_projection_negative"]
    settled = [s["commitment"] for s in summaries if s["commitment"] is not None]
    n_long = sum(s["n_tokens"] > 9 for s in summaries)
    assert shown["settled_share"] == pytest.approx(len(settled) / n_long, abs=1e-4)
    assert shown["median_commitment"] == median(settled)
    assert (shown["n_texts"], shown["missing_scores"], shown["unfinished"]) == (6, 0, 0)
    texts = monitored.materializations(STAGE, "refusal")[0].metadata["texts"]
    assert isinstance(texts, dg.TableMetadataValue)
    assert len(texts.records) == 6


def test_the_page_shows_text_as_text(monitored: SmallProject) -> None:
    """Also what a model wrote: here in a row of an interrupted run, which is taken as it is."""
    monitored.set(monitoring_prompts=[PROMPTS[1]])
    settings, folder = monitored.settings(), monitored.trait("refusal")
    key = stage_key(STAGE, stage_inputs(STAGE, folder, settings), stage_settings(STAGE, settings))
    folder.journal(STAGE, key).append(
        [{"id": "none|0_0", "response": HOSTILE, "prompt_tokens": 9, "response_tokens": 20,
          "finish_reason": "stop"}]
    )  # fmt: skip
    done = monitored.run("refusal", STAGE)
    assert list(done.made) == [STAGE], done.problems
    first, *_ = _traces(monitored)
    assert first["response"] == HOSTILE
    page = (folder.path / "dynamics/dynamics.html").read_text("utf-8")
    shown = _shown(monitored)
    assert shown["page"] == "/traitvec/experiments/demo/refusal/dynamics/dynamics.html"
    # Also where the project was moved to.
    assert (monitored.project.path / shown["page_file"]).read_text("utf-8") == page
    tags = [part.partition(">")[0].lower() for part in page.split("<")[1:]]
    assert not [tag for tag in tags if tag.startswith(("script", "img", "link", "iframe", "b "))]
    assert "&lt;b&gt;Why&lt;/b&gt; is the sky blue? {{ 7*7 }}" in page
    assert "default-src 'none'" in page
    assert "All 3 texts" in page
    assert "no instruction · score" in page


# -- when it is made again ---------------------------------------------------------------------


def test_what_is_unchanged_is_kept(monitored: SmallProject) -> None:
    before = snapshot(monitored.project.experiments)
    again = monitored.run("refusal")
    assert again.reused == list(STAGES[1:])
    assert snapshot(monitored.project.experiments) == before
    assert set(monitored.states("refusal").values()) == {"fresh"}
    # Nothing is made from it, and it is made from no threshold.
    assert monitored.states("refusal", **{"thresholds.accuracy": 0.5})[STAGE] == "fresh"


def test_other_prompts_leave_everything_else_alone(monitored: SmallProject) -> None:
    before = _traces(monitored)
    monitored.set(monitoring_prompts=[*PROMPTS, "What makes a good friend?"])
    states, folder = monitored.states("refusal"), monitored.trait("refusal")
    assert [stage for stage, state in states.items() if state != "fresh"] == [STAGE]
    assert not make(STAGE, folder, monitored.settings()).is_reused
    after = _traces(monitored)
    assert len(after) == 9
    # An answer depends on its prompt and place alone, so the first ones are as they were.
    told = [[row["response"] for row in rows] for rows in (before, after[:6])]
    assert told[0] == told[1]
    make(STAGE, folder, monitored.settings(monitoring_prompts=[]))
    assert [path.name for path in (folder.path / "dynamics").iterdir()] == ["summary.json"]


def test_with_other_vectors_it_is_rerun(monitored: SmallProject) -> None:
    done = monitored.run("refusal", methods=["mean_diff"], layers=[2])
    assert done.is_good, done.problems
    assert STAGE in done.made
    assert _shown(monitored)["vector"] == "mean_diff_layer2"
    # The report comes before it, though only the order says so.
    assert [stage for stage in done.made if stage in ("validation_report", STAGE)] == [
        "validation_report", STAGE,
    ]  # fmt: skip


def test_a_changed_rubric_is_asked_of_the_same_answers(monitored: SmallProject) -> None:
    before = _traces(monitored)
    definition = demo_definition()
    definition["eval_prompt"] += " Answer with one number."
    monitored.define("refusal", definition)
    assert monitored.states("refusal")[STAGE] == "stale"
    make(STAGE, monitored.trait("refusal"), monitored.settings())
    after = _traces(monitored)
    assert [row["response"] for row in after] == [row["response"] for row in before]
    assert [row["trait_score"] for row in after] != [row["trait_score"] for row in before]


def test_an_interrupted_run_goes_on_and_ends_the_same(monitored: SmallProject) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(stage: Stage, done: int, total: int, note: str = "", **_: object) -> None:
        if note.startswith("judged"):
            raise Interrupted

    folder = monitored.trait("refusal")
    whole = (folder.path / "dynamics/traces.json").read_bytes()
    shutil.rmtree(folder.path / "dynamics")
    with pytest.raises(Interrupted):
        make(STAGE, folder, monitored.settings(), Workbench(progress=interrupt))
    (journal,) = folder.path.rglob(".*.jsonl")
    assert len(journal.read_text("utf-8").splitlines()) == 6
    notes: list[tuple[int, str]] = []
    bench = Workbench(progress=lambda stage, done, total, note="", **_: notes.append((done, note)))
    assert not make(STAGE, folder, monitored.settings(), bench).is_reused
    assert (folder.path / "dynamics/traces.json").read_bytes() == whole
    assert not journal.exists()
    assert notes[-1] == (12, "traced")
    assert all(earlier <= later for (earlier, _), (later, _) in pairwise(notes))


def test_a_spent_budget_leaves_scores_missing_until_the_next_run(
    monitored: SmallProject, serve: Serve
) -> None:
    server = serve(partial(gpt_5_mini, score_of=lambda prompt: len(prompt) % 100))
    folder = monitored.trait("refusal")
    paid = monitored.settings(judge_model="gpt-5-mini")
    unpaid = monitored.settings(judge_model="gpt-5-mini", max_judge_usd=0.0)
    first = make(STAGE, folder, unpaid)
    assert not first.provenance.is_complete
    record = folder.metadata(STAGE)
    assert record["whole"]["n_scored"] == 0
    assert record["prediction"]["overall"] == {"r": None, "n": 0}
    assert {row["trait_score"] for row in _traces(monitored)} == {None}, "missing, not zero"
    assert record["by_condition"]["positive"]["mean_projection"] is not None
    page = (folder.path / "dynamics/dynamics.html").read_text("utf-8")
    assert "no instruction · no score" in page
    assert "Without a score or a projection: 6." in page
    assert server.log.total == 0
    second = make(STAGE, folder, paid)
    assert second.provenance.is_complete
    assert folder.metadata(STAGE)["whole"]["n_scored"] == 6
    cost = second.provenance.cost
    assert cost.usd is not None
    assert cost.usd > 0
    assert make(STAGE, folder, paid).is_reused


# -- nothing to do -----------------------------------------------------------------------------


def test_without_prompts_it_says_how_to_ask(finished: SmallProject) -> None:
    told = _shown(finished)["traced"]
    assert told.startswith("no: monitoring_prompts is empty in experiment.yaml; list what to ask")
    provenance = finished.trait("refusal").provenance(STAGE)
    assert provenance is not None
    assert provenance.files == {}
    assert finished.states("refusal")[STAGE] == "fresh"


def test_without_a_recommended_vector_nothing_is_traced(finished: SmallProject) -> None:
    path = finished.trait("refusal").path / "vectors/manifest.json"
    edit_metadata(path, lambda record: record.update(recommended=None))
    done = finished.run("refusal", STAGE, monitoring_prompts=PROMPTS)
    assert done.is_success, done.problems
    assert _shown(finished)["traced"].startswith("no: no vector is recommended")
