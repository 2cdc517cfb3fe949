"""The atlas: arithmetic against other implementations, planted structure, broken traits, size."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.atlas.written_traits import directions, write_settings, write_trait
from tests.projects import edit_metadata
from traitvec_core.atlas import (
    Atlas,
    TraitRow,
    build_atlas,
    choose_layer,
    cluster_order,
    correlation_within,
    cosine_matrix,
    cross_separation,
    layer_standings,
    method_standings,
)
from traitvec_core.atlas.standings import Scores
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.report.atlas_page import build_atlas_page, matrix_picture
from traitvec_core.stages.trait_atlas import make_atlas
from traitvec_core.storage.folders import ExperimentFolder


@pytest.fixture
def three(tmp_path: Path) -> ExperimentFolder:
    """`a` and its near-duplicate, and an unrelated trait."""
    folder = write_settings(tmp_path, "demo")
    axes = directions(2)
    write_trait(folder, "kind", axes[0], strength=40, seed=1)
    write_trait(folder, "warm", axes[0] + 0.2 * axes[1], strength=40, seed=2)
    write_trait(folder, "terse", axes[1], strength=40, seed=3, best_layer=3)
    return folder


# -- arithmetic -------------------------------------------------------------------------------


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 10_000))
def test_cross_separation_is_that_of_other_implementations(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    projections = rng.normal(size=(n + m, 3)).round(1)
    is_positive = np.arange(n + m) < n
    auroc, effect = cross_separation(projections, is_positive)
    for column in range(3):
        values = projections[:, column]
        assert auroc[column] == pytest.approx(roc_auc_score(is_positive, values))
        one, other = values[:n], values[n:]
        pooled = np.sqrt(((n - 1) * one.var(ddof=1) + (m - 1) * other.var(ddof=1)) / (n + m - 2))
        if pooled > 0:
            assert effect[column] == pytest.approx((one.mean() - other.mean()) / pooled)


def test_cross_separation_without_a_pole_or_scatter_is_missing() -> None:
    auroc, effect = cross_separation(np.ones((4, 1)), np.array([True] * 4))
    assert np.isnan(auroc).all()
    assert np.isnan(effect).all()
    auroc, effect = cross_separation(np.ones((4, 1)), np.array([True, True, False, False]))
    assert auroc[0] == 0.5
    assert np.isnan(effect[0])


def test_cosines_and_what_has_no_direction() -> None:
    vectors = [torch.tensor([1.0, 0]), torch.tensor([1.0, 1]), torch.zeros(2), None]
    found = cosine_matrix(vectors)
    assert found[0, 1] == pytest.approx(np.sqrt(0.5))
    assert found[0, 0] == 1
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 3]).all()
    assert np.isnan(cosine_matrix([None, None])).all()


def test_alike_vectors_stand_beside_each_other() -> None:
    axes = directions(3)
    vectors = [axes[k % 3] + 0.3 * noise for k, noise in enumerate(directions(12, seed=9))]
    order = cluster_order(cosine_matrix(vectors))
    assert sorted(order) == list(range(12))
    kinds = [place % 3 for place in order]
    assert sum(one != other for one, other in pairwise(kinds)) == 2
    assert cluster_order(np.full((4, 4), np.nan))
    assert cluster_order(np.ones((1, 1))) == [0]


def test_correlation_takes_the_cells_off() -> None:
    rng = np.random.default_rng(0)
    cells = np.arange(400) % 2
    groups = np.arange(400) // 20
    one, other = rng.standard_normal(400), rng.standard_normal(400)
    # The poles alone would correlate at nearly 1.
    far = 50 * cells.astype(np.float64)
    found = correlation_within(one + far, other + far, cells, groups)
    assert found.value is not None
    assert found.interval is not None
    assert abs(found.value) < 0.15
    assert found.interval[0] < 0 < found.interval[1]
    alike = correlation_within(one + far, one + one - far, cells, groups)
    assert alike.value == pytest.approx(1)
    centred = [
        x - np.where(cells, x[cells == 1].mean(), x[cells == 0].mean()) for x in (one, other)
    ]
    assert found.value == pytest.approx(np.corrcoef(*centred)[0, 1])
    assert correlation_within(one[:2], one[:2], cells[:2], groups[:2]) == Estimate()
    assert correlation_within(far, one, cells, groups) == Estimate()


# -- standings --------------------------------------------------------------------------------


def test_standings_are_shares_of_each_traits_best() -> None:
    traits = [
        {("mean_diff", 1): Scores(2, 0.9), ("mean_diff", 2): Scores(4, 0.95),
         ("probe", 1): Scores(8, 1), ("probe", 0): Scores(99, 1), ("random", 1): Scores(1, 0.6)},
        {("mean_diff", 1): Scores(10, 1), ("probe", 1): Scores(5, 0.9),
         ("probe", 2): Scores(float("nan"), 0.5)},
    ]  # fmt: skip
    methods = method_standings(traits, [("probe", 1), ("mean_diff", 1)])
    assert [row.name for row in methods] == ["mean_diff", "probe", "random"]
    by_name = {row.name: row for row in methods}
    assert by_name["mean_diff"].share.value == pytest.approx(0.75)
    assert by_name["probe"].share.value == pytest.approx(0.75)
    assert by_name["mean_diff"].auroc.value == pytest.approx(0.975)
    # Two traits say next to nothing, and the interval says so.
    assert (by_name["probe"].share.low, by_name["probe"].share.high) == (0, 1)
    assert by_name["probe"].n_best == by_name["mean_diff"].n_best == 1
    assert by_name["random"].is_control
    assert by_name["random"].share.low is None
    assert by_name["random"].n_traits == 1
    layers = layer_standings(traits, [("probe", 1), ("mean_diff", 1)])
    assert [(row.name, row.n_traits, row.n_recommended) for row in layers] == [
        ("1", 2, 2), ("2", 1, 0),
    ]  # fmt: skip
    assert layers[0].share.value == 1


def test_the_layer_is_one_that_most_traits_have() -> None:
    rows = layer_standings([{("probe", 1): Scores(1, 1), ("probe", 2): Scores(2, 1)}], [])
    layer, why = choose_layer(rows, {"a": [1, 2], "b": [1, 2]})
    assert layer == 2
    assert "100%" in why
    assert choose_layer(rows, {"a": [1, 2], "b": [1]})[0] == 1
    assert choose_layer([], {"a": [5, 6], "b": [5, 6]})[0] == 5
    assert choose_layer(rows, {"a": [0], "b": []})[0] is None


# -- an experiment ----------------------------------------------------------------------------


def test_near_duplicates_are_found_and_stand_together(three: ExperimentFolder) -> None:
    atlas = build_atlas(three, three.settings())
    assert [(p.one, p.other) for p in atlas.near_duplicates] in ([("kind", "warm")],
                                                                 [("warm", "kind")])  # fmt: skip
    pair = atlas.near_duplicates[0]
    assert pair.cosine > 0.9
    assert pair.one_on_other == pair.other_on_one == 1
    assert atlas.order[1] != "terse"
    assert atlas.cosine_method == "mean_diff"
    assert atlas.cosine_layer == 2
    assert "layer 2" in atlas.cosine_why
    by_name = dict(zip(atlas.order, range(3), strict=True))
    own = atlas.cross_effect[by_name["kind"]][by_name["kind"]]
    # The planted held-out figure, not that of the very examples.
    assert own == 40
    away = atlas.cross_effect[by_name["kind"]][by_name["terse"]]
    assert away is not None
    assert abs(away) < 15
    rows = {row.trait: row for row in atlas.traits}
    assert rows["kind"].strongest_other == "warm"
    assert rows["kind"].usd == pytest.approx(0.01)
    assert rows["kind"].seconds == 6
    assert rows["terse"].depth == 0.75


def test_opposite_traits_are_told_of_too(tmp_path: Path) -> None:
    folder = write_settings(tmp_path, "demo")
    axis = directions(1)[0]
    write_trait(folder, "warm", axis, strength=40, seed=1)
    write_trait(folder, "cold", -axis, strength=40, seed=2)
    (pair,) = build_atlas(folder, folder.settings()).near_duplicates
    assert pair.cosine < -0.9
    assert pair.one_on_other == 0


def test_missing_and_failed_traits_are_named_and_stop_nothing(three: ExperimentFolder) -> None:
    root = three.path
    for name in ("new", "broken", "torn", "older", "foreign", "unread"):
        write_trait(three, name, directions(1, seed=len(name))[0], usd=None)
    for stage in ("responses", "activations", "vectors", "steering", "validation"):
        for path in (root / "new" / stage).glob("*"):
            path.unlink()
    (root / "broken/trait_definition.json").write_text("{")
    (root / "torn/vectors/mean_diff_layer2.pt").write_bytes(b"half")
    edit_metadata(root / "older/vectors/manifest.json", lambda raw: raw.pop("separation"))
    write_trait(three, "foreign", directions(1, 32)[0], model="another/model")
    (root / "unread/activations/all_layers.pt").unlink()
    atlas = build_atlas(three, three.settings())
    missing = {row.trait: "; ".join(row.missing) for row in atlas.traits}
    assert "not made yet: responses" in missing["new"]
    assert "vectors" in missing["new"]
    assert "JSON" in missing["broken"]
    assert "were changed or removed" in missing["torn"]
    assert "it has no 'separation', so another version of traitvec wrote it" in missing["older"]
    assert "from another/model" in atlas.left_out["foreign"]
    assert "activations were changed or removed" in missing["unread"]
    assert set(atlas.left_out) >= {"new", "torn", "older", "foreign"}
    # Its vectors are there: only its column is empty.
    place = atlas.order.index("unread")
    others = [k for k in range(len(atlas.order)) if k != place]
    assert all(atlas.cross_auroc[k][place] is None for k in others)
    assert all(atlas.cross_auroc[place][k] is not None for k in others)
    rows = {row.trait: row for row in atlas.traits}
    assert rows["new"].contrast.value is None
    assert rows["broken"].usd is None
    page = build_atlas_page(atlas)
    for name in missing:
        assert name in page
    assert "in no matrix" in page
    assert "nan" not in page.lower().replace("nant", "")


def test_nothing_at_all(tmp_path: Path) -> None:
    folder = write_settings(tmp_path, "demo")
    with pytest.raises(TraitvecError, match="has no trait"):
        build_atlas(folder, folder.settings())
    folder.trait("new").path.mkdir()
    folder.trait("new").definition_path.write_text("{}")
    atlas = build_atlas(folder, folder.settings())
    assert atlas.order == []
    assert "0 of 1 traits are complete" in build_atlas_page(atlas)


def test_a_single_trait_has_no_matrices(tmp_path: Path) -> None:
    folder = write_settings(tmp_path, "demo")
    write_trait(folder, "only", directions(1)[0])
    atlas = build_atlas(folder, folder.settings())
    assert atlas.order == ["only"]
    assert "How similar" not in build_atlas_page(atlas)


# -- files ------------------------------------------------------------------------------------


def test_it_is_made_once_and_again_when_a_trait_changes(three: ExperimentFolder) -> None:
    settings = three.settings()
    first, is_reused = make_atlas(three, settings)
    assert not is_reused
    again, is_reused = make_atlas(three, settings)
    assert is_reused
    assert again == first
    assert three.traits() == ["kind", "terse", "warm"], "the folder of the atlas is no trait"
    page = three.path / "atlas/atlas.html"
    page.write_text("edited")
    assert not make_atlas(three, settings)[1]
    (three.path / "atlas/atlas.json").write_text("[1]")
    assert not make_atlas(three, settings)[1]
    write_trait(three, "kind", directions(3)[2], seed=9)
    third, is_reused = make_atlas(three, settings)
    assert not is_reused
    assert third.content != first.content
    assert not third.near_duplicates


def test_what_it_cost_is_no_part_of_its_content(three: ExperimentFolder) -> None:
    atlas = build_atlas(three, three.settings())
    other = atlas.model_copy(deep=True)
    other.traits[0].seconds += 5
    assert other.content == atlas.content
    other.traits[0].contrast = Estimate(value=1)
    assert other.content != atlas.content


# -- the page ---------------------------------------------------------------------------------


def test_everything_is_escaped_and_no_script_runs() -> None:
    bad = "<script>alert(1)</script>\"'&"
    row = TraitRow(trait="a", missing=[bad], model=bad, method=bad, depth=0.5, layer=1)
    page = build_atlas_page(
        Atlas(experiment="demo", model=bad, traits=[row], left_out={"b": bad}, cosine_why=bad)
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_a_missing_figure_is_a_dash(tmp_path: Path) -> None:
    folder = write_settings(tmp_path, "demo")
    write_trait(folder, "a", directions(1)[0], contrast=None, usd=None)
    page = build_atlas_page(build_atlas(folder, folder.settings()))
    cells = re.findall(r"<td class=\"n\"[^>]*>([^<]*)</td>", page)
    assert "–" in cells
    assert "0.00" not in cells


def test_the_picture_for_dagster_is_small(tmp_path: Path) -> None:
    grid = np.random.default_rng(0).uniform(-1, 1, (200, 200)).tolist()
    assert len(matrix_picture([f"trait_{k}" for k in range(200)], grid)) < 400_000
    small = matrix_picture(["a", "b"], [[1.0, None], [None, 1.0]])
    assert small.startswith(b"\x89PNG")
    assert len(small) < 20_000


@pytest.mark.slow
def test_two_hundred_traits_make_a_small_page(tmp_path: Path) -> None:
    folder = write_settings(tmp_path, "many")
    centres = directions(8, 192, seed=7)
    for k, axis in enumerate(directions(200, 192)):
        write_trait(folder, f"trait_{k:03d}", axis + centres[k % 8], n_layers=6, n_per_pole=90,
                    strength=12, best_layer=1 + k % 5, seed=k)  # fmt: skip
    write_trait(folder, "trait_199", directions(200, 192)[0] + centres[0], n_layers=6,
                n_per_pole=90, strength=12, seed=500)  # fmt: skip
    atlas, _ = make_atlas(folder, folder.settings())
    assert (folder.path / "atlas/atlas.html").stat().st_size < 5_000_000
    assert len(atlas.order) == 200
    assert {"trait_000", "trait_199"} in [{p.one, p.other} for p in atlas.near_duplicates]
    kinds = [int(name[-3:]) % 8 for name in atlas.order if name != "trait_199"]
    # Eight clusters, each in one piece.
    assert sum(one != other for one, other in pairwise(kinds)) == 7
