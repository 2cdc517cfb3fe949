"""What every format holds, how it counts layers, and what travels inside."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from tests.exchange.conftest import Command
from tests.projects import REPOSITORY
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange import FORMATS, LAYERS, export_vectors, gather
from traitvec_core.exchange.file_formats.pt_archive import RECORD
from traitvec_core.storage.folders import ExperimentFolder

gguf = pytest.importorskip("gguf")


def layers_of(demo: ExperimentFolder, trait: str = "refusal") -> dict[int, torch.Tensor]:
    return {k: demo.trait(trait).read_vector("mean_diff", k) for k in range(1, 6)}


def read_gguf(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    for tensor in reader.tensors:
        # llama.cpp's rules: float32, one dimension, N ≥ 1.
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert len(tensor.shape) == 1
        family, _, number = tensor.name.partition(".")
        assert family == "direction"
        assert int(number) >= 1
    return fields, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


# -- layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "index"),
    [
        ("safetensors", 0, 0), ("safetensors", 16, 16),
        ("persona-vectors", 0, 0), ("persona-vectors", 16, 16),
        ("gguf", 2, 1), ("gguf", 16, 15),
        ("steering-vectors", 1, 0), ("steering-vectors", 16, 15),
    ],
)  # fmt: skip
def test_each_target_counts_layers_its_own_way(name: str, layer: int, index: int) -> None:
    assert LAYERS[name].index(layer) == index


@pytest.mark.parametrize(("name", "layer"), [("gguf", 1), ("gguf", 0), ("steering-vectors", 0)])
def test_a_layer_that_a_target_cannot_name_is_refused(name: str, layer: int) -> None:
    with pytest.raises(TraitvecError, match=rf"{name} cannot hold layer {layer}"):
        LAYERS[name].index(layer)


def test_the_table_in_the_docs_is_the_table_in_the_code() -> None:
    text = (REPOSITORY / "docs" / "exchange.md").read_text()
    pattern = r"^\| `([a-z-]+)` \| `([^`]+)` \| (k|k − 1) \| (\d) \| (all|one).*\|$"
    rows = re.findall(pattern, text, re.M)
    documented = {
        name: (key, 0 if number == "k" else -1, int(first), default == "all")
        for name, key, number, first, default in rows
    }
    assert documented == {
        name: (c.key, c.offset, c.first_layer, c.is_menu) for name, c in LAYERS.items()
    }
    assert set(FORMATS) == set(LAYERS)


# -- files ------------------------------------------------------------------------------------


def test_gguf_holds_every_direction_that_llama_cpp_can_name(
    demo: ExperimentFolder, tmp_path: Path
) -> None:
    done = export_vectors(
        demo, ["refusal"], "gguf", tmp_path / "v.gguf", method="mean_diff", layers="all"
    )
    fields, tensors = read_gguf(tmp_path / "v.gguf")
    ours = layers_of(demo)
    assert tensors.keys() == {f"direction.{n}" for n in (1, 2, 3, 4)}
    for layer in (2, 3, 4, 5):
        assert np.array_equal(tensors[f"direction.{layer - 1}"], ours[layer].numpy())
    assert done.bundle.notes == ("refusal: gguf cannot hold layers [1]; left out",)
    # Both families of keys.
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 4
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "control_vector"
    assert fields["adapter.control_vector.layer_count"] == 4


def test_gguf_steers_at_one_layer_unless_more_are_named(
    demo: ExperimentFolder, tmp_path: Path
) -> None:
    path = tmp_path / "v.gguf"
    done = export_vectors(demo, ["refusal"], "gguf", path, method="mean_diff")
    (vector,) = done.bundle.vectors
    manifest = demo.trait("refusal").metadata("vectors")
    sizes = {
        row["layer"]: row["held_out_effect_size"]
        for row in manifest["vectors"] if row["method"] == "mean_diff" and row["layer"] > 1
    }  # fmt: skip
    recommended = manifest["recommended"]
    expected = (
        recommended["layer"]
        if recommended["method"] == "mean_diff" and recommended["layer"] > 1
        else max(sizes, key=lambda k: sizes[k])
    )
    assert vector.layer == expected
    assert read_gguf(path)[1].keys() == {f"direction.{expected - 1}"}


def test_safetensors_of_a_whole_experiment(demo: ExperimentFolder, tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    export_vectors(demo, ["refusal", "uncertainty"], "safetensors", path, method="all")
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {
            f"{trait}/{method}_layer{k}"
            for trait in ("refusal", "uncertainty")
            for method in ("mean_diff", "probe", "ica", "gradient")
            for k in range(1, 6)
        }
        for k, vector in layers_of(demo, "uncertainty").items():
            found = file.get_tensor(f"uncertainty/mean_diff_layer{k}")
            assert found.dtype == torch.float32
            assert torch.equal(found, vector)


def test_persona_vectors_tensor(demo: ExperimentFolder, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    export_vectors(demo, ["refusal"], "persona-vectors", path, method="mean_diff")
    rows = torch.load(path, weights_only=True)
    assert rows.shape == (6, 192)
    assert rows.dtype == torch.float32
    assert not rows[0].any()
    for k, vector in layers_of(demo).items():
        assert torch.equal(rows[k], vector)


def test_steering_vectors_dictionary(demo: ExperimentFolder, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    export_vectors(demo, ["refusal"], "steering-vectors", path, method="mean_diff", layers=[1, 4])
    found = torch.load(path, weights_only=True)
    ours = layers_of(demo)
    assert found["layer_type"] == "decoder_block"
    assert found["layer_activations"].keys() == {0, 3}
    assert torch.equal(found["layer_activations"][3], ours[4])


def test_several_traits_are_a_folder_of_files(demo: ExperimentFolder, tmp_path: Path) -> None:
    done = export_vectors(demo, ["refusal", "uncertainty"], "gguf", tmp_path / "out")
    assert [path.name for path in done.paths] == ["refusal.gguf", "uncertainty.gguf"]
    fields, _ = read_gguf(tmp_path / "out" / "uncertainty.gguf")
    provenance = json.loads(str(fields["traitvec.provenance"]))
    assert provenance["traits"].keys() == {"uncertainty"}
    assert {row["trait"] for row in provenance["vectors"]} == {"uncertainty"}


# -- provenance -------------------------------------------------------------------------------


def provenance_in(path: Path, name: str) -> dict[str, object]:
    if name == "safetensors":
        with safe_open(path, "pt") as file:
            text = file.metadata()["traitvec"]
    elif name == "gguf":
        text = str(read_gguf(path)[0]["traitvec.provenance"])
    else:
        with zipfile.ZipFile(path) as archive:
            (member,) = (n for n in archive.namelist() if n.endswith(f"/{RECORD}"))
            text = archive.read(member).decode()
    found: dict[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_provenance_travels_inside(demo: ExperimentFolder, tmp_path: Path, name: str) -> None:
    export_vectors(demo, ["refusal"], name, tmp_path / "v")
    found = provenance_in(tmp_path / "v", name)
    folder = demo.trait("refusal")
    recorded = folder.provenance("vectors")
    assert recorded is not None
    stages = found["traits"]["refusal"]["stages"]
    assert stages["vectors"]["content"] == recorded.content
    assert stages["vectors"]["versions"] == recorded.versions
    assert stages["responses"]["settings"]["model"] == "embedded"
    assert "judge_base_url" not in json.dumps(found)
    first = found["vectors"][0]
    written = folder.path / "vectors" / f"{first['method']}_layer{first['layer']}_metadata.json"
    assert first["vector_norm"] == json.loads(written.read_text())["vector_norm"]


@pytest.mark.parametrize("name", FORMATS)
def test_equal_vectors_give_equal_bytes(demo: ExperimentFolder, tmp_path: Path, name: str) -> None:
    for copy in ("a", "b"):
        export_vectors(demo, ["refusal"], name, tmp_path / copy / "v", method="mean_diff")
    assert (tmp_path / "a/v").read_bytes() == (tmp_path / "b/v").read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_pt_file_with_a_record_loads_by_every_way(demo: ExperimentFolder, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    export_vectors(demo, ["refusal"], "persona-vectors", path)
    plain = torch.load(path, weights_only=True)
    assert torch.equal(plain, torch.load(path, weights_only=True, mmap=True))
    assert torch.equal(plain, torch.load(io.BytesIO(path.read_bytes()), weights_only=True))


def test_the_card(demo: ExperimentFolder, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    done = export_vectors(demo, ["refusal"], "safetensors", path, method="mean_diff")
    assert done.paths == (path, tmp_path / "v.md")
    _, front, card = (tmp_path / "v.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "traitvec"
    assert "base_model" not in yaml.safe_load(front)
    assert "# Trait vectors: refusal" in card
    assert len(re.findall(r"^\| refusal \| mean_diff \| \d \|", card, re.M)) == 5
    assert "block k, counted from 1" in card
    # The snippet does what it says.
    source = re.search(r"```python\n(.*?)```", card, re.S)
    assert source is not None
    names: dict[str, object] = {}
    exec(source[1].replace('"v.safetensors"', repr(str(path))), names)
    assert torch.is_tensor(names["vector"])
    assert json.loads(str(names["provenance"]))["experiment"] == "demo"


# -- the command, and what can go wrong -------------------------------------------------------


def test_the_command_takes_the_recommended_method(
    demo: ExperimentFolder, command: Command, tmp_path: Path
) -> None:
    recommended = demo.trait("refusal").metadata("vectors")["recommended"]
    done = command(
        "export", "--experiment", "demo", "--trait", "refusal", "--format", "steering-vectors",
        "--out", tmp_path / "v.pt",
    )  # fmt: skip
    assert f"refusal: {recommended['method']}, layer {recommended['layer']}" in done.out
    assert f"layer_activations[{recommended['layer'] - 1}]" in done.out
    whole = command(
        "export", "--experiment", "demo", "--format", "safetensors", "--out", tmp_path / "v.st",
    )  # fmt: skip
    assert "layer 1–5" in whole.out
    assert "uncertainty: " in whole.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trait", "refusal", "--format", "onnx"], "unknown format 'onnx'"),
        (["--trait", "refusal", "--format", "gguf", "--method", "pca"], "no vectors of method"),
        (["--trait", "refusal", "--format", "gguf", "--method", "all"], "holds one method"),
        (["--trait", "refusal", "--format", "gguf", "--layers", "1"], "gguf cannot hold layer 1"),
        (["--trait", "refusal", "--format", "gguf", "--layers", "9"], "no vector at layer 9"),
        (["--trait", "refusal", "--format", "gguf", "--layers", "x"], "--layers 'x'"),
        (["--trait", "../refusal", "--format", "gguf"], "cannot be used"),
        (["--trait", "nothing", "--format", "gguf"], "is missing"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = command("export", "--experiment", "demo", *arguments, "--out", tmp_path / "v")
    assert done.error is not None
    assert said in done.error
    assert "\n" not in done.error
    assert not list(tmp_path.iterdir())


def test_out_is_what_the_format_writes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = command("export", "--experiment", "demo", "--trait", "refusal", "--format", "gguf",
                  "--out", tmp_path)  # fmt: skip
    assert one.error is not None
    assert "set --out to a file" in one.error
    many = command("export", "--experiment", "demo", "--format", "gguf", "--out", tmp_path / "file")
    assert many.error is not None
    assert "set --out to a folder" in many.error


def test_activations_that_changed_after_the_vectors(demo: ExperimentFolder, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "experiments" / "demo"
    shutil.copytree(demo.path, copy)
    path = copy / "refusal" / "activations" / "metadata.json"
    record = json.loads(path.read_text())
    record["provenance"]["content"] = "another"
    path.write_text(json.dumps(record))
    with pytest.raises(TraitvecError, match="activations changed after the vectors"):
        gather(ExperimentFolder(tmp_path / "experiments", "demo"), ["refusal"], LAYERS["gguf"])
