"""The figures that decide stand on the page without a click; numbers that plot can be compared."""

from typing import Any

import dagster as dg
import pytest

from tests.projects import SmallProject
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.report_manifest import ReportManifest

# The same for every trait of an experiment, or a position: a line through them says nothing.
NOT_COMPARED = {
    "bytes", "layer", "recommended_layer", "n_vectors", "n_layers", "hidden_dim", "megabytes",
    "resumed_from", "model_load_seconds", "passes_above", "passes_from", "passes_up_to",
    "warns_above", "fails_above", "fails_below",
}  # fmt: skip


def metadata_of(project: SmallProject, stage: Stage) -> dict[str, Any]:
    (made,) = project.materializations(stage, "refusal")
    return dict(made.metadata)


def rows(value: Any) -> list[dict[str, Any]]:
    # Dagster's pages show a table at once, wherever they show metadata.
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_the_reports_figures_are_a_table_after_the_answer(finished: SmallProject) -> None:
    metadata = metadata_of(finished, "validation_report")
    assert isinstance(metadata["answer"], dg.TextMetadataValue)
    report = finished.trait("refusal").manifest(ReportManifest)
    shown = rows(metadata["key_figures"])
    assert [row["figure"] for row in shown] == [figure.label for figure in report.figures]
    for row, figure in zip(shown, report.figures, strict=True):
        assert row["value"].startswith(figure.value_text)
        # What was not measured says why, and is no zero.
        assert (row["value"] == "–") == bool(figure.missing)
        assert figure.missing in row["note"]


def test_the_vectors_figures_are_tables_and_all_vectors_a_dialog(finished: SmallProject) -> None:
    metadata = metadata_of(finished, "vectors")
    manifest = finished.trait("refusal").manifest(VectorsManifest)
    shown = {row["figure"]: row["value"] for row in rows(metadata["key_figures"])}
    probe = manifest.separation.probe_accuracy.format(".3f")
    assert shown["accuracy of a probe on unseen data"] == probe
    by_method = rows(metadata["by_method"])
    methods = {score.method for score in manifest.separation.scores}
    assert len(by_method) == len(methods)
    for row in by_method:
        method = row["method"].removesuffix(" (control)")
        scores = [s for s in manifest.separation.scores if s.method == method and s.layer]
        assert len(row["AUROC by layer (▁ 0.5, █ 1)"]) == len(scores)
        best = max(score.auroc.value or 0 for score in scores)
        assert row["best AUROC"].startswith(f"{best:.3f}")
        at = manifest.separation.of(method, int(row["best AUROC"].rpartition(" layer ")[2]))
        assert at is not None
        assert at.auroc.value == best
    everything = metadata["figures"].value
    assert len(everything.splitlines()) == len(manifest.vectors) + 2
    # Shorter Markdown would be on the page itself, and a row per vector is too much for it.
    assert len(everything) > 1000


@pytest.mark.parametrize("stage", STAGES)
def test_only_numbers_that_can_be_compared_plot(finished: SmallProject, stage: Stage) -> None:
    metadata = metadata_of(finished, stage)
    for record in finished.instance.get_runs():
        for evaluation in finished.evaluations(record.run_id):
            metadata |= evaluation.metadata
    plots = dg.FloatMetadataValue | dg.IntMetadataValue
    numbers = {name for name, value in metadata.items() if isinstance(value, plots)}
    assert numbers & NOT_COMPARED == set()
