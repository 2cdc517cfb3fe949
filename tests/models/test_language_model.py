"""Prompts, roles and token borders, on templates of every kind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, processors

from tests.models.architectures import BOS, END, EOS, PAD, START, Template, make_config, make_model
from tests.ports import served
from traitvec_core.errors import TraitvecError
from traitvec_core.models import files as model_files
from traitvec_core.models import loading as model_loading
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import LanguageModel, load_language_model

TEMPLATES: tuple[Template, ...] = ("system", "raises", "drops", "none")


@pytest.fixture(scope="module")
def models() -> dict[str, LanguageModel]:
    return {template: make_model("llama", template) for template in TEMPLATES}


@pytest.mark.parametrize(
    ("template", "role"),
    [("system", "system"), ("raises", "user"), ("drops", "user"), ("none", "raw")],
)
def test_the_role_follows_from_the_template(
    models: dict[str, LanguageModel], template: str, role: str
) -> None:
    model = models[template]
    assert model.role("auto") == role
    assert model.role("raw") == "raw"
    prompt = model.prompt("What?", "Be kind.")
    assert prompt.count("Be kind.") == 1
    turns = prompt.count(START)
    assert turns == {"system": 3, "user": 2, "raw": 0}[role]
    if role != "system":
        assert "Be kind.\n\nWhat?" in prompt
    assert "Be kind." not in model.prompt("What?")


def test_roles_that_a_template_cannot_play_are_refused(models: dict[str, LanguageModel]) -> None:
    assert models["system"].role("user") == "user"
    for template in ("raises", "drops"):
        with pytest.raises(TraitvecError, match="instruction_role: user"):
            models[template].role("system")
    for wanted in ("system", "user"):
        with pytest.raises(TraitvecError, match="instruction_role: raw"):
            models["none"].role(wanted)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("role", ["auto", "raw"])
def test_exactly_one_bos_and_no_eos(
    models: dict[str, LanguageModel], template: str, role: str
) -> None:
    model = models[template]
    bos, eos = model.tokenizer.bos_token_id, model.tokenizer.eos_token_id
    for instruction in ("Be kind.", None):
        prompt = model.prompt("What?", instruction, role)
        for ids in (model.encode_prompt(prompt), model.encode_response(prompt, "Yes.").ids):
            assert ids.count(bos) == 1
            assert ids[0] == bos
            assert eos not in ids


def test_a_bare_prompt_that_writes_bos_itself_gets_no_second(
    models: dict[str, LanguageModel],
) -> None:
    for model in models.values():
        ids = model.encode_prompt(f"{BOS}What?")
        assert ids.count(model.tokenizer.bos_token_id) == 1


def test_a_tokenizer_that_closes_every_text_does_not_close_the_prompt() -> None:
    model = make_model("llama", "none")
    model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 1), (EOS, 2)]
    )
    assert model.tokenizer("What?")["input_ids"][-1] == model.tokenizer.eos_token_id
    assert model.encode_prompt("What?\n")[-1] != model.tokenizer.eos_token_id
    encoded = model.encode_response("What?\n", "Yes.")
    assert encoded.ids[: len(model.encode_prompt("What?\n"))] == model.encode_prompt("What?\n")
    assert (
        model.tokenizer.decode(
            [t for t, inside in zip(encoded.ids, encoded.is_response, strict=True) if inside]
        )
        == "Yes."
    )


# Control tokens are never in a response: generation leaves them out of the text.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: not any(token in text for token in (BOS, EOS, PAD, START, END))
)


@pytest.mark.parametrize("template", ["system", "none"])
@pytest.mark.parametrize("numbers", ["single", "digits"])
def test_marked_ids_decode_to_the_response(template: Template, numbers: Any) -> None:
    model = make_model("llama", template, numbers)

    @settings(max_examples=150)
    @given(question=_TEXT, response=_TEXT)
    def check(question: str, response: str) -> None:
        prompt = model.prompt(question, "Be kind.")
        encoded = model.encode_response(prompt, response)
        prompt_ids = model.encode_prompt(prompt)
        assert encoded.ids[: len(prompt_ids)] == prompt_ids
        assert not any(encoded.is_response[: len(prompt_ids)])
        marked = [t for t, inside in zip(encoded.ids, encoded.is_response, strict=True) if inside]
        assert model.tokenizer.decode(marked) == response

    check()


def test_a_token_never_reaches_from_the_prompt_into_the_response(
    models: dict[str, LanguageModel],
) -> None:
    model = models["none"]
    joined = model.tokenizer("one question", add_special_tokens=False)["input_ids"]
    apart = [
        *model.tokenizer("one questi", add_special_tokens=False)["input_ids"],
        *model.tokenizer("on", add_special_tokens=False)["input_ids"],
    ]
    assert joined != apart, "the corpus no longer merges across this border"
    encoded = model.encode_response("one questi", "on")
    assert encoded.ids[1:] == apart


def test_half_a_surrogate_pair_is_no_crash(models: dict[str, LanguageModel]) -> None:
    for model in models.values():
        assert any(model.encode_response(model.prompt("What?"), "a\ud800b").is_response)


def test_control_tokens_are_not_ordinary_added_texts() -> None:
    model = make_model("llama")
    model.tokenizer.add_tokens(
        [AddedToken("\n\n", normalized=False), AddedToken("<b>", normalized=False)]
    )
    assert {BOS, EOS, PAD, START, END} <= set(model.control_tokens)
    assert not {"\n\n", "<b>"} & set(model.control_tokens)
    # So a raw prompt that holds one still gets its BOS.
    raw = model.prompt("Is <b> bold?", "Be kind.", "raw")
    assert model.encode_prompt(raw)[0] == model.tokenizer.bos_token_id


def test_end_tokens_and_padding(models: dict[str, LanguageModel]) -> None:
    model = make_model("llama")
    assert model.end_token_ids == [model.tokenizer.eos_token_id]
    several = make_model("llama")
    several.model.generation_config.eos_token_id = [2, 4]
    assert several.end_token_ids == [2, 4]
    unset = make_model("llama")
    unset.model.generation_config.eos_token_id = None
    assert unset.end_token_ids == [unset.tokenizer.eos_token_id]
    unset.tokenizer.pad_token = None
    assert unset.pad_token_id == unset.tokenizer.eos_token_id


def test_a_saved_model_loads_as_it_was(tmp_path: Path) -> None:
    model = make_model("llama")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), device="cpu")
    prompt = loaded.prompt("What?", "Be kind.")
    assert prompt == model.prompt("What?", "Be kind.")
    assert loaded.encode_response(prompt, "Yes.") == model.encode_response(prompt, "Yes.")
    assert loaded.model.training is False
    assert next(loaded.model.parameters()).dtype.is_floating_point


def one_line(error: pytest.ExceptionInfo[TraitvecError], *expected: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for part in expected:
        assert part in text


def test_folders_that_hold_no_model_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path))
    one_line(error, str(tmp_path), "could not be loaded")
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path / "absent" / "and" / "deeper"))
    one_line(error, "absent", "could not be loaded")

    (tmp_path / "config.json").write_text("{ this is no JSON")
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path))
    one_line(error, "could not be loaded")
    make_model("llama").tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path))
    one_line(error, "no-such-type", "could not be loaded")


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    model = make_model("llama")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path))
    one_line(error, "could not be loaded")


def test_a_model_with_eyes_is_loaded_and_reads_text(tmp_path: Path) -> None:
    model = make_model("llava")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), device="cpu")
    assert loaded.n_layers == model.n_layers
    assert type(loaded.decoder) is type(model.decoder)
    assert loaded.context_tokens == model.context_tokens


# -- options ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = make_model("llama")
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_options_are_obeyed_and_recorded(saved: Path, attention: str, dtype: str) -> None:
    loaded = load_language_model(str(saved), device="cpu", attention=attention, dtype=dtype)
    assert loaded.as_loaded == {
        "model_revision": None,
        "model_dtype": "float32" if dtype == "auto" else dtype,
        "attention": "sdpa" if attention == "auto" else attention,
        "quantization": "none",
    }
    assert loaded.load_seconds > 0


def test_options_that_cannot_be_had_are_one_line(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(saved)
    for option in ("dtype", "attention", "quantization"):
        with pytest.raises(TraitvecError, match=f"{option}: unknown value 'no-such'") as error:
            load_language_model(name, **{option: "no-such"})  # type: ignore[arg-type]
        one_line(error)
    with pytest.raises(TraitvecError) as error:
        load_language_model(name, attention="flash_attention_2")
    one_line(error, "attention: flash_attention_2", "attention: auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TraitvecError) as error:
        load_language_model(name, quantization="8bit")
    one_line(error, "needs a GPU", "quantization: none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    with pytest.raises(TraitvecError) as error:
        load_language_model(name, quantization="4bit")
    one_line(error, "bitsandbytes", "traitvec[quantization]")


def test_sdpa_is_refused_where_a_model_cannot_have_it(tmp_path: Path) -> None:
    """Gemma 2 caps its attention, which sdpa cannot: better no answer than another model's."""
    model = make_model("gemma2")
    assert model.as_loaded["attention"] == "eager"
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path), device="cpu", attention="sdpa")
    one_line(error, "attention: sdpa", "attention: auto")
    assert load_language_model(str(tmp_path), device="cpu").as_loaded["attention"] == "eager"


@pytest.mark.parametrize(
    ("has_gpu", "has_bfloat16", "trained_in", "device", "expected"),
    [
        (False, False, "bfloat16", None, "float32"),
        (True, True, "bfloat16", "cpu", "float32"),
        (True, True, "float16", None, "bfloat16"),
        (True, False, "float16", None, "float16"),
        # What was trained in bfloat16 may overflow float16.
        (True, False, "bfloat16", None, "bfloat16"),
    ],
)
def test_dtype_auto_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
    has_gpu: bool,
    has_bfloat16: bool,
    trained_in: str,
    device: str | None,
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    config = make_config("llama", vocab_size=8, dtype=trained_in)
    options = LoadOptions(device=device)
    assert model_loading.choose_dtype(options, config) == getattr(torch, expected)
    named = LoadOptions(device=device, dtype="float16")
    assert model_loading.choose_dtype(named, config) == torch.float16


def test_quantization_is_handed_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    # Its constructor looks for the library's version.
    monkeypatch.setattr("transformers.BitsAndBytesConfig.post_init", lambda self: None)
    config = make_config("llama", vocab_size=8)
    eight, four = (
        model_loading.weight_arguments(LoadOptions(quantization=bits), config)
        for bits in ("8bit", "4bit")
    )
    assert eight["quantization_config"].load_in_8bit
    assert four["quantization_config"].load_in_4bit
    assert four["quantization_config"].bnb_4bit_quant_type == "nf4"
    assert four["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16
    assert model_loading.device_arguments(LoadOptions()) == {"device_map": "auto"}
    none = model_loading.weight_arguments(LoadOptions(attention="eager"), config)
    assert none == {"dtype": torch.bfloat16, "attn_implementation": "eager"}


def test_code_of_a_model_is_only_run_when_asked(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {
        "AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine'\n"
        "class MyModel(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(tmp_path), device="cpu")
    one_line(error, "trust_remote_code: true", "revision")
    loaded = load_language_model(str(tmp_path), device="cpu", trust_remote_code=True)
    assert type(loaded.model).__name__ == "MyModel"
    assert len(loaded.blocks) == 3


def test_a_model_too_large_for_memory_is_one_line(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate 99 GiB")

    monkeypatch.setattr("transformers.LlamaForCausalLM.from_pretrained", full)
    with pytest.raises(TraitvecError) as error:
        load_language_model(str(saved), device="cpu")
    one_line(error, "does not fit into memory", "quantization: 8bit")


# -- the hub ----------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """The hub's answers: one model in one commit, and repositories that cannot be had."""

    folder: Path
    refusals = {
        "gated-name": (401, "GatedRepo"),
        "gated-refused": (403, "GatedRepo"),
        "private-name": (401, "RepoNotFound"),
        "bad-token": (401, ""),
        "no-config": (404, "EntryNotFound"),
        "absent-name": (404, "RepoNotFound"),
    }

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        for name, (status, code) in self.refusals.items():
            if name in parts:
                return self.answer(status, code)
        if parts[2:3] != ["resolve"]:
            return self.answer(404, "EntryNotFound")
        revision, file = parts[3], self.folder / parts[-1]
        if revision not in {"main", "v1", COMMIT}:
            return self.answer(404, "RevisionNotFound")
        if not file.exists():
            return self.answer(404, "EntryNotFound")
        return self.answer(200, "", file.read_bytes())

    do_HEAD = do_GET

    def answer(self, status: int, code: str, body: bytes = b"") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "No")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(body)}-{self.path.rsplit("/", 1)[-1]}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(saved: Path) -> Iterator[str]:
    handler = type("_Hub", (_Hub,), {"folder": saved})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with served(server) as address:
        yield address


@pytest.mark.slow
def test_the_hub_is_asked_for_a_commit_and_its_refusals_are_one_line(
    hub: str, tmp_path: Path
) -> None:
    # The hub's address is read once, at import: this needs a separate process.
    program = """
import json, os
from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import load_language_model
found = {}
def load(name, key=None, **options):
    try:
        found[key or name] = load_language_model(name, device="cpu", **options).as_loaded
    except TraitvecError as error:
        found[key or name] = str(error)
load("org/tiny")
load("org/tiny", "tag", revision="v1")
load("org/tiny", "no revision", revision="v9")
for name in ("gated-name", "absent-name", "private-name", "no-config"):
    load(f"org/{name}")
os.environ["HF_TOKEN"] = "hf_" + "a" * 34
for name in ("gated-refused", "bad-token"):
    load(f"org/{name}")
print(json.dumps(found))
"""
    removed = {"HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    environment = {key: value for key, value in os.environ.items() if key not in removed}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}

    def run(code: str, **more: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, **more},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    found = run(program)
    assert found["org/tiny"]["model_revision"] == COMMIT
    assert found["tag"]["model_revision"] == COMMIT
    expected = {
        "no revision": ("no revision 'v9'",),
        "org/gated-name": ("is gated", "huggingface.co/org/gated-name", "HF_TOKEN is not set"),
        "org/gated-refused": ("is gated", "HF_TOKEN is set", "refused"),
        "org/absent-name": ("could not be loaded", "no model of this name"),
        "org/private-name": ("could not be loaded", "private", "HF_TOKEN is not set"),
        "org/bad-token": ("could not be loaded", "refuses access", "HF_TOKEN is set"),
        "org/no-config": ("could not be loaded", "config.json"),
    }
    for name, parts in expected.items():
        assert "\n" not in found[name]
        assert "hf_a" not in found[name]
        for part in parts:
            assert part in found[name], found[name]

    offline = run(
        """
import json
from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import load_language_model
found = [load_language_model("org/tiny", device="cpu").as_loaded["model_revision"]]
try:
    load_language_model("org/never-seen")
except TraitvecError as error:
    found.append(str(error))
print(json.dumps(found))
""",
        HF_HUB_OFFLINE="1",
    )
    assert offline[0] == COMMIT
    assert "not on this machine" in offline[1]
