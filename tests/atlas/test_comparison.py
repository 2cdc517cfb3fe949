"""Two experiments side by side: what moved, depths, cosines, and texts that both models read."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.atlas.written_traits import directions, write_settings, write_trait
from traitvec_core.atlas.comparison import compare_experiments, difference
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.provenance import result_settings
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder


@pytest.fixture
def two(tmp_path: Path) -> tuple[ExperimentFolder, ExperimentFolder]:
    """The same model twice; in the second, one trait is stronger and one does not elicit."""
    a = write_settings(tmp_path, "first", n_examples=20, batch_size=4)
    b = write_settings(tmp_path, "second", n_examples=40, batch_size=8)
    axes = directions(4)
    write_trait(a, "kind", axes[0], strength=20, seed=1)
    write_trait(a, "terse", axes[1], strength=20, seed=2)
    write_trait(a, "old", axes[2])
    write_trait(b, "kind", axes[0], strength=30, seed=3, best_layer=3)
    write_trait(b, "terse", axes[1], strength=20, seed=4, contrast=10)
    write_trait(b, "new", axes[3])
    return a, b


def test_what_moved_where_and_what_still_elicits(
    two: tuple[ExperimentFolder, ExperimentFolder],
) -> None:
    found = compare_experiments(*two, compared_settings=result_settings())
    assert (found.a, found.b) == ("first", "second")
    assert (found.only_a, found.only_b) == (["old"], ["new"])
    assert found.settings == {"n_examples": (20, 40)}, "how it was made faster is no difference"
    kind, terse = found.traits
    assert kind.elicits == (True, True)
    assert terse.elicits == (True, False)
    moved = {(row.trait, figure.name): figure for row in found.traits for figure in row.moved}
    assert moved["kind", "best_effect_size"].has_moved
    assert moved["kind", "best_effect_size"].change.value == pytest.approx(10)
    assert moved["kind", "contrast"].has_moved is False
    assert moved["terse", "contrast"].has_moved
    assert moved["terse", "contrast"].change.value == pytest.approx(-50)
    # Steering was not evaluated: missing, and not unmoved.
    assert moved["kind", "steered"].has_moved is None
    assert moved["kind", "steered"].change == Estimate()
    assert (kind.a.depth, kind.b.depth) == (0.5, 0.75)
    assert [depth for depth, _ in kind.depth_profile[0]] == [0.25, 0.5, 0.75, 1.0]
    best = [max(profile, key=lambda at: at[1])[0] for profile in kind.depth_profile]
    assert best == [0.5, 0.75]


def test_cosines_in_one_space_at_both_recommended_places(
    two: tuple[ExperimentFolder, ExperimentFolder],
) -> None:
    kind, terse = compare_experiments(*two).traits
    assert kind.is_same_space
    assert [(v.method, v.layer) for v in kind.vectors] == [("mean_diff", 2), ("mean_diff", 3)]
    assert all(v.cosine > 0.9 for v in kind.vectors)
    assert len(terse.vectors) == 1
    assert kind.projection is None


def test_texts_are_read_where_the_spaces_differ(
    two: tuple[ExperimentFolder, ExperimentFolder], tmp_path: Path
) -> None:
    a, _ = two
    b = write_settings(tmp_path, "wider", model="another/model")
    axis = directions(1, 32)[0]
    write_trait(b, "kind", axis, model="another/model", strength=20)
    (kind,) = compare_experiments(a, b).traits
    assert kind.is_same_space is False
    assert kind.vectors == []
    assert kind.projection is None
    asked = []

    def read(folder: TraitFolder, settings: ExperimentSettings) -> torch.Tensor:
        """Each model finds along its own vector what the other finds along its."""
        asked.append((folder.experiment, settings.model))
        own = {"some/model": a, "another/model": b}[settings.model].trait("kind")
        vector = own.read_vector("mean_diff", 2)
        there = folder.read_vector("mean_diff", 2)
        values = folder.read_activations()[:, 2] @ there / there.norm()
        found = torch.zeros(len(values), 5, len(vector))
        found[:, 2] = values[:, None] * vector / vector.norm()
        found[0] = torch.nan
        return found

    (kind,) = compare_experiments(a, b, read=read).traits
    assert asked == [("first", "another/model"), ("wider", "some/model")]
    projection = kind.projection
    assert projection is not None
    assert projection.n == 78, "a response without a token left is left out"
    assert projection.correlation.value == pytest.approx(1)
    assert projection.a_on_b == projection.b_on_a == 1


def test_a_model_of_another_shape_is_a_note(
    two: tuple[ExperimentFolder, ExperimentFolder], tmp_path: Path
) -> None:
    b = write_settings(tmp_path, "wider", model="another/model")
    write_trait(b, "kind", directions(1, 32)[0], model="another/model")
    found = compare_experiments(two[0], b, read=lambda folder, settings: torch.zeros(40, 3, 7))
    assert "has another shape than its vectors" in found.traits[0].notes[-1]


def test_what_is_missing_is_told(two: tuple[ExperimentFolder, ExperimentFolder]) -> None:
    a, b = two
    (b.trait("kind").path / "vectors/manifest.json").unlink()
    kind, _ = compare_experiments(a, b).traits
    assert "not made yet" in kind.b.missing[0]
    assert kind.is_same_space is None
    assert {figure.has_moved for figure in kind.moved if "best" in figure.name} == {None}


def test_another_definition_is_noted(two: tuple[ExperimentFolder, ExperimentFolder]) -> None:
    for number, folder in enumerate(two):
        path = folder.trait("kind").path / "responses/judging_metadata.json"
        made = {"stage": "judged_responses", "key": "k", "inputs": {"rubric": str(number)},
                "settings": {}}  # fmt: skip
        path.write_text(json.dumps({"provenance": made}))
    kind, terse = compare_experiments(*two).traits
    assert kind.notes == ["the rubrics differ, so contrasts are on different scales"]
    assert terse.notes == []


def test_no_trait_in_common(tmp_path: Path) -> None:
    a, b = write_settings(tmp_path, "a"), write_settings(tmp_path, "b")
    write_trait(a, "kind", directions(1)[0])
    with pytest.raises(TraitvecError, match="share no trait by name: a has kind, b has none"):
        compare_experiments(a, b)


estimates = st.tuples(st.floats(-100, 100), st.floats(0, 50), st.floats(0, 50)).map(
    lambda t: Estimate(value=t[0], low=t[0] - t[1], high=t[0] + t[2])
)


@given(estimates, estimates)
def test_the_interval_of_a_change(a: Estimate, b: Estimate) -> None:
    found, back = difference(a, b), difference(b, a)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert back.low == pytest.approx(-found.high)
    assert back.high == pytest.approx(-found.low)
    # No wider than both together, no narrower than either.
    assert a.low is not None
    assert a.high is not None
    assert b.low is not None
    assert b.high is not None
    widths = (a.high - a.low, b.high - b.low)
    assert max(widths) / 2 - 1e-9 <= found.high - found.low <= sum(widths) + 1e-9


def test_a_change_without_intervals_has_none() -> None:
    assert difference(Estimate(value=1), Estimate(value=3)) == Estimate(value=2)
    assert difference(Estimate(), Estimate(value=3, low=2, high=4)) == Estimate()
