"""What is written is what is read, and nothing is read that was not written."""

import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.judging import JudgementStore
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE
from traitvec_core.storage.files import list_experiments, write_atomically
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import (
    dump_json,
    dump_tensor,
    load_tensor,
    parse_csv,
    response_csvs,
)
from traitvec_core.storage.journal import Journal
from traitvec_core.storage.provenance import Provenance, content_hash

FILES = {
    "vectors/probe_layer1.pt": dump_tensor(torch.ones(4)),
    "vectors/probe_layer1_metadata.json": b"{}",
}


@pytest.fixture
def trait(tmp_path: Path) -> TraitFolder:
    return ExperimentFolder(tmp_path / "experiments", "mine").trait("kindness")


def provenance(stage: Any = "vectors") -> Provenance:
    return Provenance(
        stage=stage, key="k", inputs={"activations": "abc"}, settings={"scale": "raw"}
    )


def files_below(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


# -- tables ---------------------------------------------------------------------------------------

_ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["", "NA", "nan", "null", "None", "\r", "\n", "\r\n", '"', '""', "a\rb", "\0", "1", "1e5", ",",
     " lead", "trail ", "\ufeff", "\u2028", "=1+1", "-", "True"]
)  # fmt: skip
_SCORE = st.floats(0, 100) | st.just(math.nan)
_TEXT_COLUMNS = ("question", "instruction", "prompt", "response", "question_id", "judge_status")
_ROW = st.fixed_dictionaries(
    {
        **dict.fromkeys(_TEXT_COLUMNS, _ANY_TEXT),
        "trait_score": _SCORE,
        "coherence_score": _SCORE,
        "prompt_tokens": st.integers(0, 10**6),
        "response_tokens": st.integers(0, 10**6),
        "pole": st.sampled_from(["pos", "neg"]),
    }
)


@settings(max_examples=200)
@given(st.lists(_ROW, max_size=6))
def test_tables_come_back_as_they_were(rows: list[dict[str, Any]]) -> None:
    columns = [
        *_TEXT_COLUMNS,
        "trait_score",
        "coherence_score",
        "prompt_tokens",
        "response_tokens",
        "pole",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    written = response_csvs(frame, "")
    assert set(written) == {"responses/pos.csv", "responses/neg.csv"}
    for pole in ("pos", "neg"):
        expected = [row for row in rows if row["pole"] == pole]
        found = parse_csv(written[f"responses/{pole}.csv"])
        assert list(found.columns) == columns[:-1]
        assert len(found) == len(expected)
        for row, wanted in zip(found.to_dict("records"), expected, strict=True):
            for column in columns[:-1]:
                value = row[column]
                if column.endswith("score") and math.isnan(wanted[column]):
                    assert math.isnan(value)
                else:
                    assert value == wanted[column]
        assert found["trait_score"].dtype == np.float64
        assert found["prompt_tokens"].dtype == np.int64


def test_a_missing_score_is_an_empty_field_and_never_zero() -> None:
    frame = pd.DataFrame(
        {"response": ["a", "b"], "trait_score": [math.nan, 0.0], "pole": ["pos", "pos"]}
    )
    data = response_csvs(frame, "")["responses/pos.csv"]
    assert data == b'"response","trait_score"\n"a",""\n"b",0.0\n'
    assert parse_csv(data)["trait_score"].isna().tolist() == [True, False]
    all_missing = parse_csv(b'"response","trait_score"\n"a",""\n')
    assert all_missing["trait_score"].dtype == np.float64


def test_half_a_surrogate_pair_is_written_as_something() -> None:
    frame = pd.DataFrame({"response": ["a\ud83db"], "pole": ["pos"]})
    assert parse_csv(response_csvs(frame, "")["responses/pos.csv"])["response"][0] == "a?b"


def test_responses_are_read_with_their_poles_positives_first(trait: TraitFolder) -> None:
    frame = pd.DataFrame(
        {
            "response": ["n1", "p1", "p2"],
            "trait_score": [1.0, 99.0, math.nan],
            "pole": ["neg", "pos", "pos"],
        }
    )
    trait.commit("responses", response_csvs(frame, "raw_"), {}, provenance("responses"))
    found = trait.read_responses("responses")
    assert found["response"].tolist() == ["p1", "p2", "n1"]
    assert found["pole"].tolist() == ["pos", "pos", "neg"]
    with pytest.raises(TraitvecError, match="judged_responses has not been made"):
        trait.read_responses()


# -- tensors --------------------------------------------------------------------------------------


def test_tensors_are_bare_and_load_with_weights_only(trait: TraitFolder) -> None:
    activations = torch.randn(5, 3, 7).half()
    name = "activations/all_layers.pt"
    trait.commit("activations", {name: dump_tensor(activations)}, {}, provenance("activations"))
    loaded = torch.load(trait.path / name, weights_only=True)
    assert type(loaded) is torch.Tensor
    assert loaded.dtype == torch.float16
    assert torch.equal(loaded, activations)
    assert torch.equal(trait.read_activations(), activations)


def test_a_view_does_not_drag_its_storage_into_the_file() -> None:
    whole = torch.randn(1000, 1000, requires_grad=True)
    data = dump_tensor(whole[3])
    assert len(data) < 4 * 1000 + 3000
    loaded = load_tensor(data)
    assert torch.equal(loaded, whole[3].detach())
    assert not loaded.requires_grad
    turned = load_tensor(dump_tensor(whole.T[:5]))
    assert turned.is_contiguous()
    assert torch.equal(turned, whole.T[:5])


class _Harmful:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_nothing_is_ever_unpickled(capsys: pytest.CaptureFixture[str]) -> None:
    listed = io.BytesIO()
    torch.save([torch.ones(2)], listed)
    harmful = pickle.dumps(_Harmful(), protocol=2)
    for data in (harmful, pickle.dumps([1], protocol=2), b"", b"garbage", listed.getvalue()):
        with pytest.raises(TraitvecError) as error:
            load_tensor(data)
        assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out


# -- writing --------------------------------------------------------------------------------------


def test_writing_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "deep" / "file.json"
    write_atomically(target, b"old")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert files_below(tmp_path) == {"deep/file.json"}

    def fail(self: Path, other: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, b"newer")
    assert target.read_bytes() == b"new"
    assert files_below(tmp_path) == {"deep/file.json"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.floats(width=32).map(np.float64),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=300)
@given(_JSON)
def test_json_never_holds_nan(value: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def expected(item: Any) -> Any:
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        if isinstance(item, dict):
            return {key: expected(inner) for key, inner in item.items()}
        return [expected(inner) for inner in item] if isinstance(item, list | tuple) else item

    assert json.loads(dump_json(value), parse_constant=refuse) == expected(value)


# -- stages ---------------------------------------------------------------------------------------


def test_a_commit_is_read_back(trait: TraitFolder) -> None:
    assert trait.provenance("vectors") is None
    done = trait.commit("vectors", FILES, {"count": 1, "missing": math.nan}, provenance())
    assert trait.provenance("vectors") == done
    assert done.files == {name: content_hash(data) for name, data in FILES.items()}
    assert trait.is_intact(done)
    metadata = trait.metadata("vectors")
    assert (metadata["count"], metadata["missing"]) == (1, None)
    assert list(metadata)[-1] == "provenance"
    assert torch.equal(trait.read_vector("probe", 1), torch.ones(4))
    assert files_below(trait.path) == {*FILES, "vectors/manifest.json"}
    # The content's hash follows the files and nothing else.
    again = trait.commit("vectors", FILES, {"count": 2}, provenance())
    assert again.content == done.content
    other = trait.commit("vectors", {**FILES, "vectors/x.json": b"1"}, {}, provenance())
    assert other.content != done.content


def test_a_commit_removes_what_is_no_longer_made_and_nothing_else(trait: TraitFolder) -> None:
    trait.commit("vectors", {**FILES, "vectors/old.pt": b"old"}, {}, provenance())
    write_atomically(trait.path / "vectors" / "mine.txt", b"a user's own")
    trait.commit("activations", {"activations/all_layers.pt": b"x"}, {}, provenance("activations"))
    trait.commit("vectors", FILES, {}, provenance())
    assert files_below(trait.path) == {
        *FILES, "vectors/manifest.json", "vectors/mine.txt", "activations/all_layers.pt",
        "activations/metadata.json",
    }  # fmt: skip


def test_edited_metadata_cannot_remove_other_files(trait: TraitFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"precious")
    write_atomically(trait.definition_path, b"{}")
    write_atomically(trait.path / "responses" / "pos.csv", b"x")
    write_atomically(trait.path / "vectors" / "folder" / "file", b"x")
    (trait.path / "vectors" / "link").symlink_to(tmp_path)
    trait.commit("vectors", FILES, {}, provenance())
    manifest = trait.path / "vectors" / "manifest.json"
    raw = json.loads(manifest.read_bytes())
    hostile = [
        str(outside), "../../../outside.txt", "vectors/../../../../outside.txt",
        "vectors/link/outside.txt", "trait_definition.json", "responses/pos.csv", "vectors/folder",
        ".", "", "vectors", "a\0b", "x" * 5000,
    ]  # fmt: skip
    raw["provenance"]["files"].update(dict.fromkeys(hostile, "abc"))
    manifest.write_text(json.dumps(raw))
    before = files_below(tmp_path)
    trait.commit("vectors", FILES, {}, provenance())
    assert files_below(tmp_path) == before
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("damage", ["edit", "remove", "folder"])
def test_an_edited_or_removed_file_is_noticed(trait: TraitFolder, damage: str) -> None:
    done = trait.commit("vectors", FILES, {}, provenance())
    path = trait.path / "vectors" / "probe_layer1.pt"
    if damage == "edit":
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    else:
        path.unlink()
    if damage == "folder":
        path.mkdir()
    assert not trait.is_intact(done)
    for read in (lambda: trait.metadata("vectors"), lambda: trait.read_vector("probe", 1)):
        with pytest.raises(TraitvecError) as error:
            read()
        assert "\n" not in str(error.value)
        assert "kindness" in str(error.value)


def test_a_run_killed_between_files_and_metadata_is_noticed(trait: TraitFolder) -> None:
    done = trait.commit(
        "activations", {"activations/all_layers.pt": b"a"}, {}, provenance("activations")
    )
    write_atomically(trait.path / "activations/all_layers.pt", b"b")
    assert not trait.is_intact(done)
    with pytest.raises(TraitvecError, match="materialize activations again"):
        trait.read_activations()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"{}", b'{"provenance": 5}', b'{"provenance": {"stage": "x"}}',
     b"\xff\xfe", b"[" * 100_000, b'{"provenance": {"files": {"a": 5}}}'],
)  # fmt: skip
def test_metadata_that_cannot_be_read_is_no_provenance(trait: TraitFolder, data: bytes) -> None:
    trait.commit("vectors", FILES, {}, provenance())
    (trait.path / "vectors" / "manifest.json").write_bytes(data)
    assert trait.provenance("vectors") is None
    with pytest.raises(TraitvecError, match="has not been made yet"):
        trait.metadata("vectors")
    trait.commit("vectors", FILES, {}, provenance())
    assert trait.metadata("vectors")


def test_a_vector_that_was_not_extracted_is_one_line(trait: TraitFolder) -> None:
    trait.commit("vectors", FILES, {}, provenance())
    for method, layer in (("probe", 2), ("ica", 1), ("../../x", 1)):
        with pytest.raises(TraitvecError, match="is missing"):
            trait.read_vector(method, layer)


# -- folders --------------------------------------------------------------------------------------


def test_names_are_checked_before_they_become_paths(tmp_path: Path) -> None:
    for name in ("../x", "/etc", "A", ""):
        with pytest.raises(TraitvecError):
            ExperimentFolder(tmp_path, name)
        with pytest.raises(TraitvecError):
            ExperimentFolder(tmp_path, "mine").trait(name)


def test_experiments_and_traits_are_listed(tmp_path: Path) -> None:
    assert list_experiments(tmp_path / "absent") == []
    for path in (
        "b/two/trait_definition.json", "b/one/trait_definition.json", "b/x/other.json", "file",
        "b/Bad Name/trait_definition.json", "a/experiment.yaml", ".hidden/x",
    ):  # fmt: skip
        write_atomically(tmp_path / path, b"{}")
    assert list_experiments(tmp_path) == ["a", "b"]
    assert ExperimentFolder(tmp_path, "b").traits() == ["one", "two"]
    assert ExperimentFolder(tmp_path, "absent").traits() == []


def test_definitions_and_settings_that_cannot_be_read_are_one_line(trait: TraitFolder) -> None:
    with pytest.raises(DefinitionError, match="new-trait --experiment mine --trait kindness"):
        trait.definition()
    trait.definition_path.mkdir(parents=True)
    with pytest.raises(DefinitionError, match="cannot be read"):
        trait.definition()
    experiment = ExperimentFolder(trait.path.parents[1], "mine")
    experiment.settings_path.write_bytes(b"model: \xff")
    with pytest.raises(DefinitionError, match="not UTF-8"):
        experiment.settings()
    experiment.settings_path.write_bytes(b"\xef\xbb\xbfmodel: a")
    assert experiment.settings({"n_examples": 7}).n_examples == 7


def test_a_table_of_peoples_scores_is_optional(trait: TraitFolder) -> None:
    assert trait.human_scores() is None
    trait.path.mkdir(parents=True)
    assert trait.human_scores() is None
    trait.human_scores_path.write_bytes(b"question_id,trait_score\n")
    assert trait.human_scores() == b"question_id,trait_score\n"
    trait.human_scores_path.unlink()
    trait.human_scores_path.mkdir()
    with pytest.raises(TraitvecError, match=r"human_scores.csv cannot be read: Is a directory"):
        trait.human_scores()


def test_another_trait_of_the_same_experiment(trait: TraitFolder) -> None:
    other = trait.sibling("wit")
    assert (other.experiment, other.name) == ("mine", "wit")
    assert other.path == trait.path.parent / "wit"
    with pytest.raises(TraitvecError, match="cannot be used"):
        trait.sibling("../wit")


def test_the_store_of_judgements_is_no_experiment(tmp_path: Path) -> None:
    with JudgementStore(tmp_path / JUDGEMENTS_FILE):
        assert list_experiments(tmp_path) == []


# -- journals -------------------------------------------------------------------------------------

_JOURNAL_ROW = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=10),
    max_size=4,
)


@settings(max_examples=80)
@given(batches=st.lists(st.lists(_JOURNAL_ROW, max_size=3), max_size=4), cut=st.integers(0, 30))
def test_a_torn_journal_loses_at_most_its_last_rows(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[dict[str, Any]]], cut: int
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal"), "new/.responses-abc.jsonl")
    assert journal.rows() == []
    for batch in batches:
        journal.append(batch)
    rows = [row for batch in batches for row in batch]
    assert journal.rows() == rows
    if not journal.path.exists():
        return
    data = journal.path.read_bytes()
    kept = data[: max(len(data) - cut, 0)]
    journal.path.write_bytes(kept)
    whole = journal.rows()
    assert whole == rows[: len(whole)]
    assert len(whole) >= kept.count(b"\n")
    # What is written after the tear is whole.
    journal.append([{"later": 1}])
    assert journal.rows() == [*whole, {"later": 1}]


def test_a_journal_takes_those_of_earlier_settings_with_it(trait: TraitFolder) -> None:
    mine, earlier = trait.journal("responses", "a" * 64), trait.journal("responses", "b" * 64)
    other = trait.journal("judged_responses", "c" * 64)
    for journal in (mine, earlier, other):
        journal.append([{"x": 1}])
    assert mine.rows() == [{"x": 1}]
    mine.remove()
    assert mine.rows() == earlier.rows() == []
    assert other.rows() == [{"x": 1}]
    mine.remove()
