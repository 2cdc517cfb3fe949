"""Prompts, roles and token borders, on templates of every kind."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, processors

from tests.core.architectures import BOS, END, EOS, PAD, START, Template, make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.language_model import LanguageModel, load_language_model

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


# Control tokens never stand in a response: generation leaves them out of the text.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: not any(token in text for token in (BOS, EOS, PAD, START, END))
)


@pytest.mark.parametrize("template", ["system", "none"])
@pytest.mark.parametrize("numbers", ["single", "digits"])
def test_marked_ids_decode_to_the_response(template: Template, numbers: Any) -> None:
    model = make_model("llama", template, numbers)

    @settings(max_examples=150, deadline=None)
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


class _Hub(BaseHTTPRequestHandler):
    """The hub's answers for a gated and for a missing repository."""

    def do_HEAD(self) -> None:
        is_gated = "gated-name" in self.path
        self.send_response(401 if is_gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if is_gated else "RepoNotFound")
        self.send_header("X-Error-Message", "Access to model is restricted" if is_gated else "No")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_gated_and_missing_models_are_one_line(hub: str, tmp_path: Path) -> None:
    # The hub's address is read once, at import: this needs a process of its own.
    program = """
from traitvec_core.errors import TraitvecError
from traitvec_core.language_model import load_language_model
for name in ("org/gated-name", "org/absent-name"):
    try:
        load_language_model(name)
    except TraitvecError as error:
        print(str(error).replace(chr(10), "NEWLINE"))
"""
    removed = {"HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    environment = {key: value for key, value in os.environ.items() if key not in removed}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    gated, absent = done.stdout.splitlines()
    assert "NEWLINE" not in done.stdout
    assert "org/gated-name" in gated
    assert "is gated" in gated
    assert "HF_TOKEN is not set" in gated
    assert "org/absent-name" in absent
    assert "could not be loaded" in absent
