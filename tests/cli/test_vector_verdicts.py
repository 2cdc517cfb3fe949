"""A vector is handed out with its verdict: every surface, for every verdict."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.atlas.written_traits import directions, write_settings, write_trait
from tests.cli.conftest import Command
from traitvec_core import TraitvecWarning, load_vector
from traitvec_core.atlas import build_atlas
from traitvec_core.dynamics import sum_up
from traitvec_core.dynamics.manifests import TracedManifest
from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.pt_archive import read_record
from traitvec_core.exchange.file_formats.table import FORMATS
from traitvec_core.exchange.imported_vectors import read_imported_vectors
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.storage.provenance import Provenance
from traitvec_core.storage.vector_verdict import NOT_JUDGED, NOT_RECOMMENDED
from traitvec_dagster.graph.atlas_asset import atlas_metadata
from traitvec_dagster.graph.metadata_of_vectors import (
    trait_dynamics_metadata,
    validation_report_metadata,
    vectors_metadata,
)

# What a model may have written, in the middle of a reason.
HOSTILE = "<script>alert(1)</script> [x](javascript:1) **bold**"
REASON = "chance: permuted labels do as well"
MONITOR = ("monitor", "--trait", "kind", "--prompt", "Hi?", "--set", "sampling.max_new_tokens=3")


def write(
    tmp_path: Path, verdict: VectorVerdict | None, name: str = "mine", reason: str = REASON
) -> ExperimentFolder:
    """An experiment for the embedded model, with one trait."""
    from traitvec_core.models.language_model import load_language_model

    model = load_language_model("embedded")
    root = tmp_path / "project" / "experiments"
    folder = write_settings(root, name, model="embedded")
    write_trait(
        folder, "kind", directions(1, model.hidden_dim)[0], n_layers=model.n_layers,
        model="embedded", verdict=verdict, reasons=[reason, HOSTILE] if verdict else (),
    )  # fmt: skip
    return folder


@pytest.fixture(params=["usable", "with_care", "not_usable", None])
def verdict(request: pytest.FixtureRequest) -> VectorVerdict | None:
    chosen: VectorVerdict | None = request.param
    return chosen


@pytest.fixture
def experiment(tmp_path: Path, verdict: VectorVerdict | None) -> ExperimentFolder:
    return write(tmp_path, verdict)


def check_shown(verdict: VectorVerdict | None, text: str) -> None:
    """The verdict is in the text, with its first reason, and nothing worse."""
    flat = " ".join(text.split())
    assert ("not usable" in flat.lower()) == (verdict == "not_usable"), text
    if verdict is None:
        assert NOT_JUDGED in flat or "no verdict" in flat
    else:
        shown = {"usable": "usable", "with_care": "with care"}.get(verdict, "not usable")
        assert shown in flat.lower()
    assert (REASON in flat) == (verdict is not None)


def check_warned(verdict: VectorVerdict | None, error_stream: str) -> None:
    # Written without their responses, the vectors are stale: see `test_stale_vectors.py`.
    lines = [
        line
        for line in error_stream.splitlines()
        if line.startswith("WARNING:") and "is stale" not in line
    ]
    if verdict != "not_usable":
        assert lines == []
        return
    assert len(lines) == 1
    assert "kind (mean_diff_layer2) is NOT USABLE" in lines[0]
    assert REASON in lines[0]


# -- files that leave the machine -------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_exported_files(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None, name: str
) -> None:
    out = experiment.path.parent.parent / f"kind{FORMATS[name].suffix}"
    done = traitvec(
        "export", "--experiment", "mine", "--trait", "kind", "--format", name, "--out", str(out)
    )
    assert done.code == 0, done.err
    check_warned(verdict, done.err)
    check_shown(verdict, done.out)
    record = _record(out)
    chosen = record["traits"]["kind"]["recommended"]
    assert chosen["verdict"] == verdict
    assert chosen["reasons"] == ([REASON, HOSTILE] if verdict else [NOT_JUDGED])
    by_name = {(v["method"], v["layer"]): v for v in record["vectors"]}
    assert by_name["mean_diff", 2]["verdict"] == verdict
    for place, vector in by_name.items():
        if place != ("mean_diff", 2):
            assert (vector["verdict"], vector["reasons"]) == (None, [NOT_RECOMMENDED])
    if FORMATS[name].has_card:
        check_card(verdict, out.with_suffix(".md").read_text())


def _record(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()["traitvec"])
            return record
    if path.suffix == ".gguf":
        gguf = pytest.importorskip("gguf")
        fields = gguf.GGUFReader(path).fields
        record = json.loads(fields["traitvec.provenance"].contents())
        line = fields["traitvec.verdict"].contents()
        assert ("NOT USABLE" in line) == (record["vectors"][0]["verdict"] == "not_usable")
        return record
    found = read_record(path.read_bytes())
    assert found is not None
    return found


def check_card(verdict: VectorVerdict | None, card: str) -> None:
    check_shown(verdict, card.replace("\\", ""))
    assert "<script" not in card
    assert "[x](" not in card
    assert ("**Warning:**" in card) == (verdict == "not_usable")


def test_what_is_pushed(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None
) -> None:
    from traitvec_core.exchange import hub
    from traitvec_core.exchange.file_formats.table import LAYERS
    from traitvec_core.exchange.gather import gather

    done = traitvec("push", "--experiment", "mine", "--repo-id", "me/vectors")
    assert done.code == 0, done.err
    check_warned(verdict, done.err)
    check_shown(verdict, done.out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraitvecWarning)
        bundle: Bundle = gather(experiment, ["kind"], LAYERS["safetensors"])
    check_card(verdict, hub.plan_push(bundle, "me/vectors").files["README.md"].decode())


def test_an_export_that_is_imported_keeps_the_sources_verdict(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None
) -> None:
    source = experiment.path.parent.parent / "pv"
    for name in ("vectors", "trait_data_extract"):
        (source / name).mkdir(parents=True)
    definition = json.loads(experiment.trait("kind").definition_path.read_bytes())
    (source / "trait_data_extract" / "kind.json").write_text(json.dumps(definition))
    done = traitvec(
        "export", "--experiment", "mine", "--trait", "kind", "--format", "persona-vectors",
        "--out", str(source / "vectors" / "kind_response_avg_diff.pt"),
    )  # fmt: skip
    assert done.code == 0, done.err
    done = traitvec(
        "import-persona-vectors", str(source), "--experiment", "theirs", "--model", "embedded"
    )
    assert done.code == 0, done.err
    assert ("WARNING:" in done.err) == (verdict == "not_usable")
    assert ("where they were exported" in done.out) == (verdict is not None)
    trait = ExperimentFolder(experiment.path.parent, "theirs").trait("kind")
    imported = read_imported_vectors(trait)
    assert imported.source_verdict == verdict
    assert imported.source_reasons == ((REASON, HOSTILE) if verdict else ())


# -- the terminal and pages -------------------------------------------------------------------


def test_monitor(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None
) -> None:
    done = traitvec(*MONITOR, "--experiment", "mine")
    assert done.code == 0, done.err
    check_warned(verdict, done.err)
    assert ("NOT USABLE" in done.out) == (verdict == "not_usable")
    folder = experiment.path.parent.parent
    check_page(verdict, (folder / "monitor.html").read_text())
    found = json.loads((folder / "monitor.json").read_bytes())["verdicts"]["kind"]
    assert found["verdict"] == verdict


def check_page(verdict: VectorVerdict | None, page: str) -> None:
    check_shown(verdict, page)
    assert "<script" not in page


def test_monitoring_another_vector_has_no_verdict(traitvec: Command, tmp_path: Path) -> None:
    folder = write(tmp_path, "not_usable")
    done = traitvec(*MONITOR, "--experiment", "mine", "--vector", "probe_layer3")
    assert done.code == 0, done.err
    check_warned(None, done.err)
    page = (folder.path.parent.parent / "monitor.html").read_text()
    assert NOT_RECOMMENDED in page
    assert "NOT USABLE" not in page


def test_atlas(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None
) -> None:
    done = traitvec("atlas", "--experiment", "mine")
    assert done.code == 0, done.err
    check_warned(verdict, done.err)
    page = (experiment.path / "atlas/atlas.html").read_text()
    check_page(verdict, page)
    [row] = json.loads((experiment.path / "atlas/atlas.json").read_bytes())["atlas"]["traits"]
    assert row["verdict"] == verdict
    assert row["reasons"] == ([REASON, HOSTILE] if verdict else [NOT_JUDGED])


def test_compare(traitvec: Command, tmp_path: Path) -> None:
    write(tmp_path, "with_care", "one")
    write(tmp_path, "not_usable", "two")
    done = traitvec("compare", "one", "two")
    assert done.code == 0, done.err
    assert "with care → NOT USABLE" in done.out
    [line] = [line for line in done.err.splitlines() if line.startswith("WARNING:")]
    assert "two/kind (mean_diff_layer2) is NOT USABLE" in line
    [trait] = json.loads(traitvec("compare", "one", "two", "--json").out)["traits"]
    assert (trait["a"]["verdict"], trait["b"]["verdict"]) == ("with_care", "not_usable")


def test_status(
    traitvec: Command, experiment: ExperimentFolder, verdict: VectorVerdict | None
) -> None:
    # The trait was written without responses, so that no check can read them.
    (experiment.trait("kind").path / METADATA_FILE["judged_responses"]).unlink()
    done = traitvec("status", "--experiment", "mine")
    assert done.code == 0, done.err
    assert ("NOT USABLE" in done.out) == (verdict == "not_usable")
    check_warned(verdict, done.err)
    chosen = json.loads(traitvec("status", "--experiment", "mine", "--json").out)["mine"]["kind"]
    assert chosen["recommended"]["verdict"] == verdict


# -- Dagster's metadata -----------------------------------------------------------------------


def _dynamics(folder: ExperimentFolder) -> dict[str, Any]:
    trait = folder.trait("kind")
    manifest = TracedManifest(
        model="embedded", vector="mean_diff_layer2", layer=2, spread=1.0, poles=None,
        judge_model="embedded", unfinished={}, experiment_spent_usd=0.0, texts=[],
        **dict(sum_up([])),
    )  # fmt: skip
    made = Provenance(stage="trait_dynamics", key="k", inputs={}, settings={})
    trait.commit("trait_dynamics", {}, manifest.model_dump(), made)
    return trait_dynamics_metadata(trait, folder.settings())


METADATA: dict[str, Callable[[ExperimentFolder], dict[str, Any]]] = {
    "vectors": lambda folder: vectors_metadata(folder.trait("kind"), folder.settings()),
    "validation_report": lambda folder: validation_report_metadata(
        folder.trait("kind"), folder.settings()
    ),
    "trait_dynamics": _dynamics,
    "trait_atlas": lambda folder: atlas_metadata(folder, build_atlas(folder, folder.settings())),
}


@pytest.mark.parametrize("asset", METADATA)
def test_what_dagster_shows(
    experiment: ExperimentFolder, verdict: VectorVerdict | None, asset: str
) -> None:
    shown = METADATA[asset](experiment)
    assert ("NOT USABLE" in shown["verdict"]) == (verdict == "not_usable")
    reasons = shown["reasons"].value
    check_shown(verdict, f"{shown['verdict']} {reasons}".replace("\\", ""))
    assert "<script" not in reasons
    assert "[x](" not in reasons
    assert "**bold" not in reasons


# -- a notebook -------------------------------------------------------------------------------


def test_load_vector(experiment: ExperimentFolder, verdict: VectorVerdict | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = load_vector(experiment.path.parent, "mine", "kind")
    assert chosen.verdict == verdict
    assert chosen.reasons == ((REASON, HOSTILE) if verdict else (NOT_JUDGED,))
    check_shown(verdict, repr(chosen))
    issued = [
        each
        for each in caught
        if issubclass(each.category, TraitvecWarning) and "is stale" not in str(each.message)
    ]
    assert len(issued) == (verdict == "not_usable")
    for each in issued:
        assert each.filename == __file__, "the warning points at the user's line"
        assert "\n" not in str(each.message)
        assert REASON in str(each.message)


def test_a_vector_that_is_named_has_no_verdict(tmp_path: Path) -> None:
    folder = write(tmp_path, "not_usable")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*NOT USABLE")
        other = load_vector(folder.path.parent, "mine", "kind", "probe_layer1")
    assert (other.verdict, other.reasons) == (None, (NOT_RECOMMENDED,))
    assert NOT_RECOMMENDED in repr(other)
    with pytest.warns(TraitvecWarning, match="NOT USABLE"):
        named = load_vector(folder.path.parent, "mine", "kind", "mean_diff_layer2")
    assert named.verdict == "not_usable", "the recommended one, by its name"
