"""Files that come from elsewhere, mangled: used, or refused by one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.test_import_gguf import write_control_vector
from tests.fuzz.mutations import changed, few, mangled, mangled_json, tried
from tests.models.gguf_files import make_llama, write_gguf
from traitvec_core.embedded import embedded_model_path
from traitvec_core.exchange import export_vectors
from traitvec_core.exchange.file_formats.pt_archive import dump_pt, read_record
from traitvec_core.exchange.persona_definition import read_definition
from traitvec_core.exchange.persona_folder import find_persona_files
from traitvec_core.exchange.persona_table import read_judged
from traitvec_core.exchange.source_vectors import read_source_vectors
from traitvec_core.models.gguf_check import check_gguf
from traitvec_core.models.gguf_header import read_gguf_header
from traitvec_core.models.language_model import load_language_model
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trait import parse_definition

SHAPE = (6, 192)
TABLE = (
    b"question,prompt,answer,question_id,kind,coherence\n"
    b'Q0?,"system\nQ0?",An answer,kind_0_pos_0,91.5,88\n'
    b'Q1?,"system\nQ1?","<think>a</think>Another, with a comma",kind_1_pos_0,nan,REFUSAL\n'
)
KIND = {
    "instruction": [{"pos": "Be kind.", "neg": "Be unkind."}],
    "questions": ["Q0?", "Q1?"], "eval_prompt": "{question} {answer}",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(finished_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Vectors as we and repeng write them, and a model, by the ending of their names."""
    folder = tmp_path_factory.mktemp("files")
    demo = ExperimentFolder(finished_folder / "experiments", "demo")
    for kind, ending in (("gguf", "ours.gguf"), ("persona-vectors", "ours.pt")):
        export_vectors(demo, ["refusal"], kind, folder / ending, method=None, layers=None)
    write_control_vector(
        folder / "repeng.gguf", {n: torch.ones(192) for n in (1, 5)}, method="pca", easysteer="{}"
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write_gguf(path, make_llama())
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("theirs")


@few(60)
@given(st.data())
def test_vectors(files: dict[str, bytes], folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    path = folder / name
    # Most of a file is numbers; its beginning says what they are.
    head, rest = files[name][:3000], files[name][3000:]
    content = (
        data.draw(mangled(head)) + rest
        if data.draw(st.booleans())
        else data.draw(mangled(files[name]))
    )
    path.write_bytes(content)
    shape = data.draw(st.sampled_from([None, SHAPE]))
    vectors = tried(lambda: read_source_vectors(path, shape))
    if vectors is not None:
        assert torch.isfinite(vectors.rows).all()


@few(40)
@given(st.data())
def test_records_of_vectors(files: dict[str, bytes], folder: Path, data: st.DataObject) -> None:
    record = read_record(files["ours.pt"])
    assert record is not None
    path = folder / "record.pt"
    rows = torch.ones(*SHAPE)
    path.write_bytes(dump_pt(rows, json.dumps(data.draw(changed(record)))))
    tried(lambda: json.dumps(read_source_vectors(path, None).source))


@few(60)
@given(mangled(TABLE))
def test_tables(folder: Path, data: bytes) -> None:
    path = folder / "kind_pos.csv"
    path.write_bytes(data)
    definition = parse_definition(json.dumps(KIND).encode(), "kind")
    table = tried(lambda: read_judged(path, "kind", "pos", definition))
    if table is not None:
        assert table.rows["trait_score"].dropna().between(0, 100).all()


@few(40)
@given(mangled_json(KIND), mangled_json({"questions": ["E0?", "E1?"]}))
def test_definitions_with_evaluation_questions(
    tmp_path_factory: pytest.TempPathFactory, definition: bytes, evaluation: bytes
) -> None:
    source = tmp_path_factory.mktemp("source")
    for name, data in (("trait_data_extract", definition), ("trait_data_eval", evaluation)):
        (source / name).mkdir()
        (source / name / "kind.json").write_bytes(data)
    result = tried(lambda: read_definition("kind", find_persona_files(source).traits["kind"]))
    if result is not None:
        # The bytes that are written are those of the definition.
        assert parse_definition(result[0], "x").content_hash == result[1].content_hash
    shutil.rmtree(source)


@few(60)
@given(st.data())
def test_headers_of_gguf_models(model_file: bytes, folder: Path, data: st.DataObject) -> None:
    path = folder / "model.gguf"
    path.write_bytes(data.draw(mangled(model_file[:4000])) + model_file[4000:])
    tried(lambda: check_gguf(path, read_gguf_header(path)))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "embedded"
    shutil.copytree(embedded_model_path(), folder)
    return folder


@few(8)
@given(st.data())
def test_folders_of_models(model_folder: Path, data: st.DataObject) -> None:
    path = model_folder / data.draw(
        st.sampled_from(["config.json", "tokenizer_config.json", "generation_config.json"])
    )
    original = path.read_bytes()
    path.write_bytes(data.draw(mangled_json(json.loads(original))))
    try:
        tried(
            lambda: load_language_model(str(model_folder), device="cpu").prompt("Hi?", "Be kind.")
        )
    finally:
        path.write_bytes(original)
