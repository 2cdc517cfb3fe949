"""Control vectors of other tools: the layer table that exports them brings them back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.exchange.conftest import Command
from tests.exchange.persona_source import IMPORT, INTO
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange import export_vectors, read_imported_vectors
from traitvec_core.exchange.import_plan import ImportPlan
from traitvec_core.exchange.importing import import_persona_vectors
from traitvec_core.exchange.source_vectors import read_source_vectors
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

gguf = pytest.importorskip("gguf")

SETTINGS = ExperimentSettings.model_validate({"model": "embedded", "judge_model": "embedded"})


@pytest.fixture
def source(demo: ExperimentFolder, tmp_path: Path) -> Path:
    """A folder with one definition, to put vectors into."""
    folder = tmp_path / "source"
    (folder / "traits").mkdir(parents=True)
    data = demo.trait("refusal").read_definition_bytes()
    (folder / "traits" / "refusal.json").write_bytes(data)
    return folder


def write_control_vector(
    path: Path, directions: dict[int, torch.Tensor], arch: str = "controlvector", **fields: str
) -> None:
    """A file as repeng writes it; with `method` and `easysteer`, as EasySteer does."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string(f"{arch}.model_hint", "llama")
    writer.add_uint32(f"{arch}.layer_count", len(directions))
    for name, value in fields.items():
        writer.add_string(f"{arch}.{name}", value)
    for number, direction in directions.items():
        writer.add_tensor(f"direction.{number}", direction.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def imported(source: Path, tmp_path: Path) -> tuple[ImportPlan, TraitFolder]:
    experiment = ExperimentFolder(tmp_path / "experiments", "theirs")
    plan = import_persona_vectors(source, experiment, SETTINGS)
    return plan, experiment.trait("refusal")


def test_what_we_export_comes_back_at_its_layers(
    demo: ExperimentFolder, source: Path, tmp_path: Path
) -> None:
    export_vectors(
        demo, ["refusal"], "gguf", source / "refusal.gguf", method="mean_diff", layers=[2, 5]
    )
    plan, folder = imported(source, tmp_path)
    assert not plan.left_out
    found = read_imported_vectors(folder, "gguf")
    assert found.vectors.keys() == {2, 5}
    assert found.marked == {}
    for layer, vector in found.vectors.items():
        assert torch.equal(vector, demo.trait("refusal").read_vector("mean_diff", layer))


def test_repengs_number_is_our_layer_minus_one(source: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    directions = {number: torch.randn(192) for number in (1, 3, 4)}
    write_control_vector(source / "refusal.gguf", directions)
    _, folder = imported(source, tmp_path)
    found = read_imported_vectors(folder, "gguf")
    assert found.vectors.keys() == {2, 4}
    assert torch.equal(found.vectors[4], directions[3])
    # repeng takes the last block's direction from hidden_states[-1].
    assert found.marked.keys() == {5}


def test_easysteer_counts_alike_and_has_the_first_block(source: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    directions = {number: torch.randn(192) for number in (0, 4)}
    write_control_vector(
        source / "refusal_diffmean.gguf", directions, method="DiffMean",
        easysteer='{"version": 1, "component": "hidden_states", "metadata": {}}',
    )  # fmt: skip
    _, folder = imported(source, tmp_path)
    found = read_imported_vectors(folder, "diffmean")
    assert found.vectors.keys() == {1, 5}
    assert torch.equal(found.vectors[1], directions[0])
    assert found.marked == {}


@pytest.mark.parametrize(
    ("directions", "fields", "said"),
    [
        ({1: torch.ones(64)}, {}, "shape 6 × 64, but the experiment's model has 6 × 192"),
        ({9: torch.ones(192)}, {}, "shape 11 × 192"),
        ({1: torch.zeros(192)}, {}, "all vectors are zero"),
        ({1: torch.full((192,), float("nan"))}, {}, "contains NaN"),
        ({1: torch.ones(192), 2: torch.ones(64)}, {}, "different widths"),
        ({1: torch.ones(2, 192)}, {}, "direction.1 is not a direction.N of one dimension"),
        ({1: torch.ones(192)}, {"arch": "llama"}, "not a control vector"),
        ({1: torch.ones(192)}, {"easysteer": '{"component": "attention_heads"}'},
         "directions of attention_heads"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_left_out(
    source: Path, tmp_path: Path, directions: dict[int, torch.Tensor], fields: dict[str, str],
    said: str,
) -> None:  # fmt: skip
    write_control_vector(source / "refusal.gguf", directions, **fields)
    plan, folder = imported(source, tmp_path)
    (left,) = plan.left_out
    assert "refusal.gguf" in left.what
    assert said in left.why
    assert folder.definition().questions
    with pytest.raises(TraitvecError, match="is missing"):
        read_imported_vectors(folder, "gguf")


def test_broken_files_and_other_names(command: Command, source: Path, tmp_path: Path) -> None:
    write_control_vector(source / "whole.gguf", {1: torch.ones(192)})
    data = (source / "whole.gguf").read_bytes()
    (source / "whole.gguf").unlink()
    root = tmp_path / "experiments"
    for broken in (b"", b"GGUF", data[:60], data[: len(data) - 100], b"\xff" * 200):
        (source / "refusal.gguf").write_bytes(broken)
        done = command(*IMPORT, source, *INTO, "--plan", root=root)
        (line,) = [line for line in done.out.splitlines() if line.startswith("left out:")]
        assert "refusal.gguf: is not a GGUF file that can be read" in line
    (source / "refusal.gguf").rename(source / "my-refusal.gguf")
    done = command(*IMPORT, source, *INTO, "--plan", root=root)
    assert "my-refusal.gguf: is it of refusal? Rename it to refusal.gguf" in done.out


def test_without_the_models_shape_the_last_vector_of_a_file_may_not_be_the_models_last(
    tmp_path: Path,
) -> None:
    write_control_vector(tmp_path / "v.gguf", {15: torch.ones(192)})
    vectors = read_source_vectors(tmp_path / "v.gguf", None)
    assert vectors.layers == [16]
    assert vectors.marked == {}
