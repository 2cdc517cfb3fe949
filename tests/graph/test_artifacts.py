"""What a run of all stages leaves: the contract's files, and what Dagster knows of them."""

import base64
import csv
import hashlib
import io
import json
import math
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import dagster as dg
import pytest
import torch

from tests.projects import SMALL, SmallProject
from traitvec_core.models.language_model import load_language_model
from traitvec_core.report.page import ReportSources, build_report
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.storage.manifests import ActivationsManifest, JudgedResponsesManifest
from traitvec_core.storage.provenance import content_hash
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommended_vector import read_recommended_vector

METHODS = ("mean_diff", "probe", "ica", "gradient")
# The guide's columns first, then our own.
RAW_COLUMNS = [
    "question", "instruction", "prompt", "response",
    "question_id", "prompt_tokens", "response_tokens", "finish_reason",
]  # fmt: skip
JUDGED_COLUMNS = [
    "question", "instruction", "prompt", "response", "trait_score", "coherence_score",
    "question_id", "judge_model", "judge_status", "judge_reason", "coherence_status",
    "coherence_reason", "prompt_tokens", "response_tokens", "finish_reason",
]  # fmt: skip
MADE: tuple[Stage, ...] = STAGES[1:]


def _rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text("utf-8"), newline="")))


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _shape() -> tuple[int, int]:
    config = load_language_model("embedded", device="cpu")
    return config.n_blocks, config.hidden_dim


def test_every_file_of_the_contract_and_no_other(finished: SmallProject) -> None:
    n_blocks, _ = _shape()
    stems = [f"vectors/{m}_layer{n}" for m in METHODS for n in range(1, n_blocks + 1)]
    folder = finished.trait("refusal").path
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {name for name in there if not name.startswith((".locks/", ".cache/"))} == {
        "trait_definition.json",
        *(f"responses/{prefix}{pole}.csv" for prefix in ("", "raw_") for pole in ("pos", "neg")),
        "responses/generation_metadata.json",
        "responses/judging_metadata.json",
        "responses/token_ids.json",
        "activations/all_layers.pt",
        "activations/opposite_instruction.pt",
        "activations/metadata.json",
        *(f"{stem}.pt" for stem in stems),
        *(f"{stem}_metadata.json" for stem in stems),
        "vectors/manifest.json",
        "steering/evaluation.json",
        "validation/report.html",
        "validation/report.json",
        "validation/recommended.json",
        "dynamics/summary.json",
    }


@pytest.mark.parametrize("pole", ["pos", "neg"])
def test_tables_have_the_promised_columns_in_order(finished: SmallProject, pole: str) -> None:
    folder = finished.trait("refusal").path / "responses"
    for name, columns in ((f"{pole}.csv", JUDGED_COLUMNS), (f"raw_{pole}.csv", RAW_COLUMNS)):
        header, *rows = _rows(folder / name)
        assert header == columns
        assert len(rows) == SMALL["n_examples"]
        ids = [row[header.index("question_id")] for row in rows]
        assert len(set(ids)) == len(ids)
        for row in rows:
            record = dict(zip(header, row, strict=True))
            parts = record["question_id"].split("_")
            assert (parts[0], parts[-3]) == ("refusal", pole)
            # What the model really saw.
            assert record["instruction"] in record["prompt"]
            assert record["question"] in record["prompt"]


def test_tensors_load_without_unpickling_and_have_the_promised_shapes(
    finished: SmallProject,
) -> None:
    n_blocks, hidden_dim = _shape()
    folder = finished.trait("refusal").path
    captured = _json(folder / "activations/metadata.json")
    activations = torch.load(folder / "activations/all_layers.pt", weights_only=True)
    assert activations.shape == (captured["n_examples"], n_blocks + 1, hidden_dim)
    assert activations.dtype in (torch.float16, torch.float32)
    assert torch.isfinite(activations).all()
    opposite = torch.load(folder / "activations/opposite_instruction.pt", weights_only=True)
    assert opposite.shape == activations.shape
    assert opposite.dtype in (torch.float16, torch.float32)
    assert torch.isfinite(opposite).all()
    # Every response was read in another context: no row is the same.
    assert (opposite.float() != activations.float()).flatten(1).any(1).all()
    files = sorted((folder / "vectors").glob("*.pt"))
    assert len(files) == len(METHODS) * n_blocks
    for path in files:
        vector = torch.load(path, weights_only=True)
        described = _json(path.with_name(f"{path.stem}_metadata.json"))
        assert vector.shape == (hidden_dim,)
        assert path.stem == f"{described['method']}_layer{described['layer']}"
        assert float(vector.norm()) == pytest.approx(described["vector_norm"], rel=1e-4)


def test_metadata_files_have_the_guides_keys(finished: SmallProject) -> None:
    folder = finished.trait("refusal").path
    captured = _json(folder / "activations/metadata.json")
    keys = ["model", "n_examples", "n_layers", "hidden_dim", "threshold", "extraction_date",
            "storage_type"]  # fmt: skip
    assert list(captured)[: len(keys)] == keys
    assert captured["storage_type"] == "token_averaged"
    assert captured["n_examples"] == captured["n_positive"] + captured["n_negative"]
    assert captured["n_from_ids"] == captured["n_examples"]
    assert captured["opposite_instruction"] == ""
    assert "tokenised again" not in (folder / "validation/report.html").read_text("utf-8")
    vector = _json(folder / "vectors/mean_diff_layer3_metadata.json")
    keys = ["trait", "method", "layer", "model", "vector_norm", "train_accuracy",
            "extraction_date"]  # fmt: skip
    assert list(vector)[: len(keys)] == keys
    assert (vector["trait"], vector["method"], vector["layer"]) == ("refusal", "mean_diff", 3)


@pytest.mark.parametrize("stage", MADE)
def test_every_stage_records_where_it_came_from(finished: SmallProject, stage: Stage) -> None:
    folder = finished.trait("refusal")
    record = _json(folder.path / METADATA_FILE[stage])["provenance"]
    assert record["stage"] == stage
    assert len(record["key"]) == 64
    assert record["inputs"]
    assert all(len(digest) == 64 for digest in record["inputs"].values())
    assert {"python", "torch", "transformers", "traitvec"} <= set(record["versions"])
    # Steering is switched off here, and there is nothing to monitor.
    assert record["cost"]["seconds"] > 0 or stage in {"steering_evaluation", "trait_dynamics"}
    for name, digest in record["files"].items():
        assert content_hash((folder.path / name).read_bytes()) == digest


def test_the_reported_contrast_is_that_of_the_tables(finished: SmallProject) -> None:
    folder = finished.trait("refusal").path

    def mean(pole: str) -> float:
        header, *rows = _rows(folder / f"responses/{pole}.csv")
        scores = [row[header.index("trait_score")] for row in rows]
        return fmean(float(score) for score in scores if score)

    contrast = mean("pos") - mean("neg")
    assert contrast > 0
    (made,) = finished.materializations("judged_responses", "refusal")
    assert made.metadata["contrast"].value == pytest.approx(contrast)
    found = next(
        found
        for found in finished.evaluations(_run_of(finished, "judged_responses"))
        if found.check_name == "contrast"
    )
    assert found.passed
    assert found.metadata["contrast"].value == pytest.approx(contrast)
    assert f"{contrast:.1f}" in (found.description or "")
    report = _json(folder / "validation/report.json")
    assert report["elicitation"]["contrast"]["value"] == pytest.approx(contrast)


def _run_of(project: SmallProject, stage: Stage) -> str:
    (record,) = project.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=project.graph().key(stage), asset_partitions=["refusal"]),
        limit=2,
    ).records
    return record.run_id


@pytest.mark.parametrize("stage", STAGES)
def test_dagster_knows_the_content_and_numbers_that_plot(
    finished: SmallProject, stage: Stage
) -> None:
    folder = finished.trait("refusal")
    (made,) = finished.materializations(stage, "refusal")
    provenance = folder.provenance(stage) if stage != "definition" else None
    content = provenance.content if provenance else folder.definition().content_hash
    assert (made.tags or {})["dagster/data_version"] == content
    numbers = {
        name: value.value
        for name, value in made.metadata.items()
        if isinstance(value, dg.FloatMetadataValue | dg.IntMetadataValue)
    }
    assert len(numbers) >= (3 if stage == "definition" else 4)
    assert all(math.isfinite(value) for value in numbers.values() if value is not None)
    if stage != "definition":
        assert made.metadata["reused"].value is False
        assert numbers["seconds"] is not None


def test_pictures_are_small_enough_for_the_event_log(finished: SmallProject) -> None:
    for stage in STAGES:
        (made,) = finished.materializations(stage, "refusal")
        for name, value in made.metadata.items():
            # The reasons of a verdict and the row per vector are the only Markdown that is text.
            is_text = name in {"reasons", "figures"}
            if is_text or not isinstance(value, dg.MarkdownMetadataValue):
                continue
            if name == "plot":
                # It has an address, so that Dagster shows it at once: below 1,000 characters.
                assert len(value.value or "") < 1000
            else:
                assert "data:image/png;base64," in (value.value or "")
                assert len(value.value or "") < 70_000


def test_no_path_in_metadata_names_this_machine(finished: SmallProject) -> None:
    shown = {
        value.value
        for stage in STAGES
        for made in finished.materializations(stage, "refusal")
        for value in made.metadata.values()
        if isinstance(value, dg.PathMetadataValue)
    }
    assert len(shown) >= 5
    assert not [path for path in shown if Path(str(path)).is_absolute()]
    # From the project's folder, wherever that is: this one is a copy.
    assert not [path for path in shown if not (finished.project.path / str(path)).exists()]


def test_report_stands_alone(finished: SmallProject) -> None:
    page = (finished.trait("refusal").path / "validation/report.html").read_text("utf-8")
    _assert_stands_alone(page)
    assert "refusal" in page
    assert page.count("data:image/png;base64,") >= 9
    assert len(page.encode()) < 3_000_000


def test_held_out_projections_stand_in_the_order_of_the_activations(
    finished: SmallProject,
) -> None:
    folder = finished.trait("refusal").path
    captured = _json(folder / "activations/metadata.json")
    manifest = _json(folder / "vectors/manifest.json")
    found, best = manifest["evidence"]["projections"], manifest["recommended"]
    assert (found["method"], found["layer"]) == (best["method"], best["layer"])
    assert len(found["margins"]) == captured["n_examples"]
    score = next(
        score
        for score in manifest["separation"]["scores"]
        if (score["method"], score["layer"]) == (best["method"], best["layer"])
    )
    poles = found["margins"][: captured["n_positive"]], found["margins"][captured["n_positive"] :]
    # Balanced: the mean over the poles of the share on its own side.
    shares = [
        fmean((margin > 0) == is_positive for margin in margins if margin is not None)
        for margins, is_positive in zip(poles, (True, False), strict=True)
    ]
    assert fmean(shares) == pytest.approx(score["accuracy"]["value"])


def test_report_shows_what_a_model_wrote_as_text(finished: SmallProject) -> None:
    folder = finished.trait("refusal")
    judged = folder.read_responses()
    attack = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7*7 }}"
    judged["response"] = attack
    definition = folder.definition().model_copy(update={"description": attack})
    extracted = folder.manifest(VectorsManifest)
    page, report = build_report(
        ReportSources(
            experiment="demo", trait="refusal", definition=definition,
            settings=finished.settings(), judged=judged,
            judging=folder.manifest(JudgedResponsesManifest),
            captured=folder.manifest(ActivationsManifest),
            extracted=extracted, chosen=read_recommended_vector(folder, extracted),
            checks=[CheckResult(name="contrast", verdict="warn", summary=attack, advice=attack)],
        )
    )  # fmt: skip
    _assert_stands_alone(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7*7 }}" in page
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


def _assert_stands_alone(page: str) -> None:
    """No script but the page's own, nothing fetched, and a policy that would forbid both."""
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:" in page
    tags = [part.partition(">")[0].lower() for part in page.split("<")[1:]]
    assert not [tag for tag in tags if tag.startswith(("link", "iframe", "object"))]
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL | re.IGNORECASE)
    assert [tag for tag in tags if tag.startswith("script")] == ["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page
    for tag in tags:
        assert "http://" not in tag
        assert "https://" not in tag
        assert " on" not in tag.split("content=")[0].replace(" one", "").replace(" only", "")
