"""Curves by hand, tokens that line up with their projections, streaming against reading at once."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from tests.models.architectures import BOS, END, EOS, START, make_model
from tests.models.hooks import counting_hooks
from traitvec_core.dynamics import (
    PieceReader,
    Trace,
    WatchedVector,
    acceleration,
    calm_point,
    commitment_point,
    persistence,
    predict_scores,
    smooth,
    stream,
    summarise,
    trace,
    velocity,
)
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.report.monitor_page import build_monitor_page
from traitvec_core.storage.formats import dump_json

EMOJI = "naïve 🍜 你好! 👩‍🚀 é"
MARKUP = "<script>alert('x')</script> \"&amp;\" </div>"


def curve(*values: float) -> Any:
    return np.array(values, dtype=np.float64)


STEP = curve(0, 0, 0, 10, 10, 10, 10)
RAMP = curve(0, 1, 2, 3, 4, 5, 6, 7)
OSCILLATION = curve(0, 10, 0, 10, 0, 10)
CONSTANT = curve(5, 5, 5, 5)


# -- curves -----------------------------------------------------------------------------------


def test_differences_are_aligned_with_their_last_token_and_the_first_are_missing() -> None:
    np.testing.assert_array_equal(velocity(curve(1, 3, 2)), [np.nan, 2, -1])
    np.testing.assert_array_equal(acceleration(curve(1, 3, 2)), [np.nan, np.nan, -3])
    np.testing.assert_array_equal(acceleration(curve(1, 3)), [np.nan, np.nan])
    np.testing.assert_array_equal(velocity(curve(1)), [np.nan])
    assert len(velocity(curve())) == len(acceleration(curve())) == 0


def test_the_level_is_a_centred_mean_of_what_is_there() -> None:
    np.testing.assert_allclose(smooth(curve(0, 3, 6, 0), 3), [1.5, 3, 3, 3])
    np.testing.assert_array_equal(smooth(RAMP, 1), RAMP)
    np.testing.assert_allclose(smooth(curve(2, 4), 9), [3, 3])
    assert len(smooth(curve(), 9)) == 0


@pytest.mark.parametrize(
    ("values", "band", "window", "expected"),
    [
        # Raw: the final level is the last token's.
        (STEP, 1, 1, 3),
        (RAMP, 2, 1, 5),  # 5, 6 and 7 are within 2 of 7
        (RAMP, 0.5, 1, None),  # only the last token itself
        (OSCILLATION, 4, 1, None),
        (OSCILLATION, 10, 1, 0),
        (CONSTANT, 0, 1, 0),
        (curve(5), 1, 1, None),  # nothing shows that it stays
        (curve(), 1, 1, None),
        # Over three tokens. The step's level: 0 0 10/3 20/3 10 10 10, and ends at 10.
        (STEP, 1, 3, None),  # inside from token 4 on, the first of the last three
        (STEP, 4, 3, 3),
        (STEP, 7, 3, 2),
        # The ramp's: .5 1 2 3 4 5 6 6.5, and ends at 6.
        (RAMP, 2, 3, 4),
        (RAMP, 1.5, 3, None),
        # The oscillation's: 5 10/3 20/3 10/3 20/3 5, and ends at 20/3.
        (OSCILLATION, 4, 3, 0),
        (OSCILLATION, 2, 3, None),
        (CONSTANT, 0, 3, 0),
        (curve(5, 5, 5), 1, 3, None),
        # It comes inside, leaves again, and comes back to stay.
        (curve(9, 0, 9, 9, 0, 0, 0), 1, 1, 4),
    ],
)  # fmt: skip
def test_commitment(values: Any, band: float, window: int, expected: int | None) -> None:
    assert commitment_point(values, band, window) == expected
    assert commitment_point(values - 1e3, band, window) == expected, "no level is special"
    assert commitment_point(-values, band, window) == expected


@pytest.mark.parametrize(
    ("values", "band", "window", "expected"),
    [
        (STEP, 5, 1, 4),
        (RAMP, 2, 1, 1),  # what comes after the last token is not known
        (OSCILLATION, 5, 1, 1),
        (OSCILLATION, 10, 1, 5),
        (CONSTANT, 0, 1, 4),
        (curve(0, 8, 6, 4, 3, 8), 4, 1, 3),  # 8, 6 and 4
        (curve(0, 8, 6, 4, 3, 8), 2, 3, 4),  # level 4 14/3 6 13/3 5 5.5: the last four
        (curve(5), 1, 1, 1),
        (curve(), 1, 1, None),
    ],
)
def test_persistence(values: Any, band: float, window: int, expected: int | None) -> None:
    assert persistence(values, band, window) == expected


def test_the_plain_definition_is_content_with_any_slope() -> None:
    assert calm_point(RAMP, 0.1) == 2
    assert calm_point(STEP, 0.1) == 2, "before the step"
    assert calm_point(OSCILLATION, 0.1) is None
    assert calm_point(CONSTANT, 0.1) == 2
    for short in (curve(), curve(5), curve(5, 5)):
        assert calm_point(short, 0.1) is None


def test_a_summary_by_hand() -> None:
    found = summarise(STEP, spread=8, prompt_last=-3.0, window=3)
    assert found.model_dump() == pytest.approx(
        {
            "n_tokens": 7, "prompt_last": -3, "mean": 40 / 7, "peak": 10, "peak_token": 4,
            "persistence": 3, "final_level": 10, "commitment": 3, "calm": 2,
        }
    )  # fmt: skip
    short = summarise(curve(5), spread=8)
    assert (short.mean, short.peak, short.peak_token, short.persistence) == (5, 5, 0, 1)
    assert short.final_level == 5
    assert short.commitment is short.calm is short.prompt_last is None
    empty = summarise(curve(), spread=8, prompt_last=1.0)
    assert {name for name, value in empty if value is not None} == {"n_tokens", "prompt_last"}


# -- tokens and values ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return make_model("llama")


def watched(
    model: LanguageModel, layer: int, trait: str = "planted", *, seed: int | None = None
) -> WatchedVector:
    """The first axis, three long; or a random direction."""
    if seed is None:
        vector = torch.zeros(model.hidden_dim)
        vector[0] = 3.0
    else:
        vector = torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(seed))
    return WatchedVector(trait, f"mean_diff_layer{layer}", layer, vector, 2.0, (-1.0, 1.0))


def plant(model: LanguageModel, scale: float = 1.0) -> None:
    """Write each token's own id along the first axis of its embedding."""
    embeddings: Any = model.model.get_input_embeddings()
    with torch.no_grad():
        embeddings.weight[:, 0] = scale * torch.arange(len(embeddings.weight))


def pieces_hold_together(found: Trace) -> None:
    """Every token in exactly one piece, none across the border, no character torn."""
    edges = [(piece.begin, piece.end) for piece in found.pieces]
    assert [begin for begin, _ in edges] == [0, *(end for _, end in edges)][: len(edges)]
    assert edges[-1][1] == len(found.token_ids)
    assert found.n_prompt in {0, *(end for _, end in edges)}
    assert not any("\ufffd" in piece.shown for piece in found.pieces)


@pytest.mark.parametrize("response", [EMOJI, "Yes!", MARKUP, f"Yes{END}no", "", "a\n\n\tb"])
def test_every_token_lines_up_with_its_projection(response: str) -> None:
    model = make_model("llama")
    plant(model)
    prompt = model.prompt(f"What is {EMOJI}?", "Be kind.")
    found = trace(model, prompt, response, [watched(model, 0)])
    encoded = model.encode_response(prompt, response)
    assert list(found.token_ids) == encoded.ids
    assert list(found.is_response) == encoded.is_response
    np.testing.assert_allclose(found.curves["planted"].projection, encoded.ids, rtol=1e-6)
    states = model.model.get_input_embeddings().weight[encoded.ids].detach().double()
    np.testing.assert_allclose(
        found.curves["planted"].cosine, np.array(encoded.ids) / states.norm(dim=1), rtol=1e-5
    )
    pieces_hold_together(found)
    assert found.response == response.replace(END, "")
    texts = {piece.text for piece in found.pieces}
    assert {"🍜", BOS, START} <= {text.strip() for text in texts}
    special = [piece.text for piece in found.pieces if piece.is_special]
    assert special.count(END) == 2 + response.count(END)
    record = json.loads(dump_json(found.record()))
    of_trait = record["traits"]["planted"]
    names = ("projection", "cosine", "velocity", "acceleration")
    lengths = {len(record[name]) for name in ("tokens", "token_ids", "is_response")}
    assert lengths | {len(of_trait[name]) for name in names} == {len(encoded.ids)}
    assert of_trait["velocity"][0] is of_trait["acceleration"][1] is None, "missing, not zero"
    counted = [
        i for i, is_counted in zip(encoded.ids, encoded.is_response, strict=True) if is_counted
    ]
    assert of_trait["summary"]["mean"] == (pytest.approx(np.mean(counted)) if counted else None)
    assert of_trait["summary"]["prompt_last"] == pytest.approx(encoded.ids[encoded.n_prompt - 1])


def test_a_state_of_length_zero_has_no_cosine() -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.model.get_input_embeddings().weight.zero_()
    found = trace(model, "a", "b", [watched(model, 0)]).curves["planted"]
    assert (found.projection == 0).all()
    assert np.isnan(found.cosine).all()


def test_every_row_is_that_of_transformers(llama: LanguageModel) -> None:
    prompt = llama.prompt("Is the moon bigger?")
    encoded = llama.encode_response(prompt, "It depends.")
    with torch.inference_mode():
        states = llama.model(
            input_ids=torch.tensor([encoded.ids]), output_hidden_states=True
        ).hidden_states
    vectors = [watched(llama, row, f"trait{row}", seed=row) for row in range(llama.n_blocks)]
    found = trace(llama, prompt, "It depends.", vectors)
    for row, vector in enumerate(vectors):
        expected = states[row][0].double() @ vector.vector.double() / vector.vector.norm()
        np.testing.assert_allclose(
            found.curves[f"trait{row}"].projection, expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mistral", "gpt2", "gemma3_with_eyes"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streaming_and_reading_at_once_agree(architecture: str, temperature: float) -> None:
    model = make_model(architecture)
    sampling = Sampling(temperature=temperature, max_new_tokens=24, seed=3)
    prompt = model.prompt("What should I cook tonight?")
    rows = (0, 1, model.n_blocks)
    vectors = [watched(model, row, f"row{row}", seed=row) for row in rows]
    steps = list(stream(model, prompt, vectors, sampling, name="x"))
    last = steps[-1]
    new = last.token_ids[last.n_prompt :]
    written = generate_texts(model, ["x"], [prompt], sampling)["x"]
    assert model.tokenizer.decode(new, skip_special_tokens=True) == written
    assert [len(step.token_ids) - step.n_prompt for step in steps] == list(range(len(steps)))
    again = trace(model, prompt, new, vectors)
    assert again.token_ids == last.token_ids
    assert again.pieces == last.pieces
    for row in rows:
        live, whole = last.curves[f"row{row}"], again.curves[f"row{row}"]
        np.testing.assert_allclose(live.projection, whole.projection, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(live.cosine, whole.cosine, rtol=1e-4, atol=1e-5)
        for step in steps:
            np.testing.assert_array_equal(
                step.curves[f"row{row}"].projection, live.projection[: len(step.token_ids)]
            )


def test_a_model_that_hands_no_cache_on_reads_everything_again(llama: LanguageModel) -> None:
    prompt, sampling = llama.prompt("Hi?"), Sampling(max_new_tokens=12, seed=1)
    vector = watched(llama, 2, seed=1)
    *_, expected = stream(llama, prompt, [vector], sampling)

    def forget(_module: Any, _args: Any, output: Any) -> Any:
        output["past_key_values"] = None
        return output

    handle = llama.model.register_forward_hook(forget)
    try:
        *_, found = stream(llama, prompt, [vector], sampling)
    finally:
        handle.remove()
    assert found.token_ids == expected.token_ids
    assert len(found.token_ids) > found.n_prompt + 4
    np.testing.assert_allclose(
        found.curves["planted"].projection, expected.curves["planted"].projection, rtol=1e-4
    )


def test_no_hook_outlives_a_step_and_those_of_others_are_respected(llama: LanguageModel) -> None:
    vector = watched(llama, 2, seed=1)
    with counting_hooks() as n_hooks:
        steps = stream(llama, llama.prompt("Hi?"), [vector], Sampling(max_new_tokens=8))
        plain = next(steps)
        assert n_hooks() == 0
        del steps
    handle = llama.blocks[1].register_forward_hook(lambda _m, _a, out: out + 2.0 * vector.vector)
    try:
        moved = next(stream(llama, llama.prompt("Hi?"), [vector], Sampling()))
    finally:
        handle.remove()
    np.testing.assert_allclose(
        moved.curves["planted"].projection - plain.curves["planted"].projection,
        2.0 * vector.vector.norm(),
        rtol=1e-4,
    )


def test_what_does_not_fit_is_one_sentence(llama: LanguageModel) -> None:
    for layer in (-1, 4):
        with pytest.raises(TraitvecError, match="does not fit tiny-llama, which has layers 0 to 3"):
            trace(llama, "a", "b", [watched(llama, layer)])
    with pytest.raises(TraitvecError, match="a trait has two vectors"):
        trace(llama, "a", "b", [watched(llama, 1), watched(llama, 2)])
    with pytest.raises(TraitvecError, match="reads at most 512"):
        trace(llama, "a", "b " * 600, [watched(llama, 1)])
    with pytest.raises(TraitvecError, match="reads at most 512"):
        next(stream(llama, "a", [watched(llama, 1)], Sampling(max_new_tokens=600)))


# -- pieces -----------------------------------------------------------------------------------


def byte_fallback_model() -> LanguageModel:
    """A tokenizer as SentencePiece makes them: ▁ for a space, bytes for what it does not know."""
    words = ["<unk>", BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghi!?"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS)
    model = make_model("llama")
    return LanguageModel("byte-fallback", model.model, fast)


@pytest.mark.parametrize("make", [make_model, byte_fallback_model])
@pytest.mark.parametrize(
    "text", ["ab 🍜 cd", "你好 ab", "👩‍🚀", "a\u0301 é!", "ab  cd\n", "a ؟ שלום"]
)
def test_characters_in_several_tokens_are_one_piece(make: Any, text: str) -> None:
    model = make()
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert any("\ufffd" in model.tokenizer.decode([token]) for token in ids) or text.isascii(), (
        "the text must be one that naive decoding spoils"
    )
    reader = PieceReader(model)
    for number, token in enumerate(ids, start=1):
        reader.add(token)
        assert text.startswith("".join(piece.text for piece in reader.pieces))
        assert reader.pieces[-1].end == number
    assert "".join(piece.text for piece in reader.pieces) == text
    assert sum(piece.end - piece.begin for piece in reader.pieces) == len(ids)
    assert not any("\ufffd" in piece.shown for piece in reader.pieces)


def test_a_character_that_never_ends_is_said_to_be_one(llama: LanguageModel) -> None:
    ids = llama.tokenizer("a🍜", add_special_tokens=False)["input_ids"]
    reader = PieceReader(llama)
    for token in ids[:-1]:
        reader.add(token)
    assert [piece.is_partial for piece in reader.pieces] == [False, True]
    assert reader.pieces[-1].shown == "⟨part of a character⟩"
    # A mark of a turn closes it for good.
    reader.add(llama.tokenizer.convert_tokens_to_ids(END))
    assert [piece.shown for piece in reader.pieces[1:]] == ["⟨part of a character⟩", END]


def test_control_characters_are_shown_as_escapes(llama: LanguageModel) -> None:
    found = trace(llama, "a", "\x1b[31m\x00\x07b\x9b", [watched(llama, 1)])
    assert "".join(piece.shown for piece in found.pieces[1:]).endswith(r"\x1b[31m\x00\x07b\x9b")
    assert found.response == "\x1b[31m\x00\x07b\x9b", "the record keeps what was written"


# -- the page ---------------------------------------------------------------------------------


def test_model_text_stays_text_and_missing_is_a_dash(llama: LanguageModel) -> None:
    vectors = [watched(llama, 1, "one", seed=1), watched(llama, 2, "two", seed=2)]
    traces = [
        trace(llama, llama.prompt(MARKUP), MARKUP + EMOJI, vectors),
        trace(llama, llama.prompt("?"), "", vectors),
    ]
    page = build_monitor_page(traces, model=MARKUP, headings=[MARKUP, "?"])
    assert "<script" not in page
    assert "&lt;script" in page
    assert "nan" not in page.lower()
    assert "http" not in page.replace("http-equiv", "")
    assert "no tokens" in page
    assert page.count('<tr><td class="name"><strong>one</strong>') == 2
    assert build_monitor_page([], model="none")


# -- prediction -------------------------------------------------------------------------------


def test_correlation_inside_and_across_conditions_by_hand() -> None:
    # Two conditions far apart; inside each, the projection runs against the score.
    x = [0, 1, 2, 10, 11, 12]
    y = [2, 1, 0, 12, 11, 10]
    found = predict_scores([*x, None, 3], [*y, 5, math.nan], ["a"] * 3 + ["b"] * 3 + ["a", "c"])
    assert found.missing == 2
    assert (found.overall.n, found.inside.n, found.across.n) == (6, 6, 2)
    # Deviations from 6: Σdxdy = 146, Σdx² = Σdy² = 154.
    assert found.overall.r == pytest.approx(146 / 154)
    assert found.inside.r == pytest.approx(-1)
    assert found.across.r is None, "two points always lie on a line"
    assert {name: c.r for name, c in found.by_condition.items()} == pytest.approx(
        {"a": -1, "b": -1}
    )
    three = predict_scores([0, 1, 2, 3], [1, 5, 2, 2], ["a", "b", "c", "c"])
    # Means 0, 1, 2.5 and 1, 5, 2, less 7/6 and 8/3: Σdxdy = 2/3, Σdx² = 19/6, Σdy² = 26/3.
    assert three.across.r == pytest.approx((2 / 3) / math.sqrt(19 / 6 * 26 / 3))
    assert three.inside.n == 2, "a condition of one says nothing"
    assert three.inside.r is None
    flat = predict_scores([0.1, 0.1, 0.1, 0.1], [1, 2, 3, 4], ["a"] * 4)
    assert flat.overall.r is flat.inside.r is None
    nothing = predict_scores([], [], [])
    assert (nothing.overall.r, nothing.overall.n, nothing.missing) == (None, 0, 0)
