"""The atlas in Dagster: its place in the graph, its metadata, its version, its failures."""

from pathlib import Path

import dagster as dg
import pytest

from tests.atlas.written_traits import directions, write_settings, write_trait
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.graph.atlas_asset import atlas_key, build_atlas_asset
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.run_overrides import SettingsOverrides


@pytest.fixture
def experiment(tmp_path: Path) -> ExperimentFolder:
    folder = write_settings(tmp_path / "experiments", "gemma-like")
    axes = directions(2)
    write_trait(folder, "kind", axes[0], strength=40, seed=1)
    write_trait(folder, "warm", axes[0] + 0.1 * axes[1], strength=40, seed=2)
    return folder


@pytest.fixture
def graph(experiment: ExperimentFolder) -> Graph:
    return Graph(str(experiment.path.parent), experiment.name)


def materialize(graph: Graph) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [build_atlas_asset(graph)],
        resources={"overrides": SettingsOverrides()},
        raise_on_error=False,
    )


def test_its_place_in_the_graph(graph: Graph) -> None:
    asset = build_atlas_asset(graph)
    spec = asset.get_asset_spec()
    assert spec.key == atlas_key(graph) == dg.AssetKey(["gemma-like", "trait_atlas"])
    assert asset.partitions_def is None
    (dep,) = spec.deps
    assert dep.asset_key == graph.key("validation_report")
    assert isinstance(dep.partition_mapping, dg.AllPartitionMapping)
    # Dagster takes no "-" in the name of a group.
    assert spec.group_name == "gemma_dash_like"


def test_what_dagster_shows(graph: Graph, experiment: ExperimentFolder) -> None:
    write_trait(experiment, "unpriced", directions(3)[2], usd=None)
    (experiment.trait("unpriced").path / "validation/report.json").unlink()
    result = materialize(graph)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert shown["traits"].value == 3
    assert shown["compared"].value == 3
    assert shown["incomplete"].value == 1
    assert shown["near_duplicates"].value == 1
    assert "cost_usd" not in shown, "an unknown price is no price of 0"
    assert shown["reused"].value is False
    assert next(iter(shown)) == "answer"
    assert str(shown["answer"].value).startswith("3 traits: ")
    assert str(shown["by_trait"]).count("TableRecord(") == 3
    assert "not made yet: validation_report" in str(shown["missing"])
    assert "data:image/png" in str(shown["cosines"].value)
    assert shown["page"].value == f"/traitvec/experiments/{graph.experiment}/atlas/atlas.html"
    assert (graph.folder.path.parents[1] / str(shown["page_file"].value)).is_file()


def test_the_version_follows_the_content(graph: Graph, experiment: ExperimentFolder) -> None:
    def version() -> tuple[str, bool]:
        (event,) = materialize(graph).get_asset_materialization_events()
        tags = event.materialization.tags or {}
        return tags["dagster/data_version"], bool(event.materialization.metadata["reused"].value)

    first, is_reused = version()
    assert not is_reused
    assert version() == (first, True)
    write_trait(experiment, "warm", directions(3)[2], seed=5)
    second, is_reused = version()
    assert not is_reused
    assert second != first


def test_a_mistake_is_one_line(graph: Graph, experiment: ExperimentFolder) -> None:
    experiment.settings_path.write_text("model: [")
    result = materialize(graph)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "experiment.yaml" in str(data.description)
