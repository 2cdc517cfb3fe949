"""Openings: the question is asked, the response has begun, and the model goes on with it."""

import pytest
import torch

from tests.models.architectures import BOS, END, EOS, START, Template, make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_responses
from traitvec_core.generation.plan import PlannedResponse
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.response_ids import ResponseIds

QUESTION = "How do I learn to swim?"
OPENING = "I looked at the question. I wrote: "
BARE = OPENING.rstrip()
STORY = 'Asked "{question}", the assistant said: '

_USER = "{{ '<|start|>user\n' + message['content'] | trim + '<|end|>\n' }}"
_BEGIN = "{% for message in messages %}{% if message['role'] == 'user' %}" + _USER + "{% else %}"
_FINISH = "{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
# As real templates write a finished turn of the assistant.
FAMILIES = {
    # Llama 3 trims every message.
    "trims": (
        "<s>" + _BEGIN
        + "{{ '<|start|>assistant\n' + message['content'] | trim + '<|end|>\n' }}" + _FINISH
    ),
    # Mistral has a space and no header before the answer.
    "spaces": (
        "<s>" + _BEGIN.replace("<|start|>user\n", "[INST] ").replace("<|end|>\n", " [/INST]")
        + "{{ ' ' + message['content'] + '</s>' }}{% endif %}{% endfor %}"
    ),
    # Qwen 3 shows a last turn's thinking, empty or not.
    "thinks": (
        "<s>" + _BEGIN + "{{ '<|start|>assistant\n<think>\n\n</think>\n\n' + message['content']"
        " + '<|end|>\n' }}" + _FINISH
    ),
}  # fmt: skip
HEADS = {
    "trims": f"<|start|>user\n{QUESTION}<|end|>\n<|start|>assistant\n",
    "spaces": f"[INST] {QUESTION} [/INST] ",
    "thinks": f"<|start|>user\n{QUESTION}<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\n",
}


def with_template(template: str) -> LanguageModel:
    model = make_model("llama", "system")
    model.tokenizer.chat_template = template
    return model


def row(opening: str, number: int = 0, question: str = QUESTION) -> PlannedResponse:
    return PlannedResponse(f"t_{number}_pos_{number}_0", "pos", question, opening)


# -- prompts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["system", "raises", "drops"])
def test_the_opening_begins_the_turn_of_the_assistant_which_stays_open(template: Template) -> None:
    model = make_model("llama", template)
    prompt = model.opened_prompt(QUESTION, OPENING)
    assert prompt == model.prompt(QUESTION) + BARE
    for role in ("auto", "system", "user"):
        assert model.opened_prompt(QUESTION, OPENING, role) == prompt


@pytest.mark.parametrize("family", FAMILIES)
def test_the_turn_is_written_as_the_template_writes_it(family: str) -> None:
    model = with_template(FAMILIES[family])
    prompt = model.opened_prompt(QUESTION, OPENING)
    assert prompt == BOS + HEADS[family] + BARE
    assert EOS not in prompt


def test_without_a_chat_template_the_question_comes_first() -> None:
    bare, chat = make_model("llama", "none"), make_model("llama", "system")
    for model, role in ((bare, "auto"), (bare, "raw"), (chat, "raw")):
        assert model.opened_prompt(QUESTION, OPENING, role) == f"{QUESTION}\n\n{BARE}"
        assert model.text_role("scenarios", role) == "raw"
    assert chat.text_role("scenarios", "system") == "assistant"
    assert chat.text_role("instructions", "auto") == "system"


@pytest.mark.parametrize("template", ["system", "none"])
def test_a_story_with_the_question_in_it_is_plain_text_for_every_model(template: Template) -> None:
    model = make_model("llama", template)
    question = "Is {question} a word?"
    prompt = model.opened_prompt(question, STORY)
    assert prompt == f'Asked "{question}", the assistant said:'
    assert START not in prompt


@pytest.mark.parametrize("template", ["system", "raises", "drops", "none", *FAMILIES])
@pytest.mark.parametrize("opening", [OPENING, STORY])
@pytest.mark.parametrize("role", ["auto", "raw"])
def test_the_tokens_have_one_bos_no_end_and_no_space_at_the_end(
    template: str, opening: str, role: str
) -> None:
    is_family = template in FAMILIES
    model = with_template(FAMILIES[template]) if is_family else make_model("llama", template)  # type: ignore[arg-type]
    tokenizer = model.tokenizer
    prompt = model.opened_prompt(QUESTION, opening, role)
    ids = model.encode_prompt(prompt)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert ids[-1] not in model.end_token_ids
    assert tokenizer.decode(ids).removeprefix(BOS) == prompt.removeprefix(BOS)
    # The next token begins with the space, as all words do.
    assert tokenizer.decode(ids[-1:]).strip() == tokenizer.decode(ids[-1:]).lstrip() != ""
    n_ends = 1 if template != "none" and role == "auto" and opening == OPENING else 0
    assert prompt.count(END) == (0 if template == "spaces" else n_ends)


def test_line_breaks_at_the_end_stay_where_the_template_keeps_them() -> None:
    opening = "My list:\n\n"
    assert make_model("llama", "system").opened_prompt(QUESTION, opening).endswith(opening)
    assert make_model("llama", "none").opened_prompt(QUESTION, opening).endswith(opening)
    assert with_template(FAMILIES["trims"]).opened_prompt(QUESTION, opening).endswith("My list:")


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "{{ raise_exception('no') }}{% endif %}{{ message['content'] }}{% endfor %}",
        "{{ messages[0]['content'] }}",
    ],
)
def test_a_template_that_cannot_leave_the_turn_open_gets_one_line(template: str) -> None:
    model = with_template(template)
    with pytest.raises(TraitvecError, match="instruction_role: raw") as error:
        model.opened_prompt(QUESTION, OPENING)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    # Both ways out work.
    assert model.opened_prompt(QUESTION, OPENING, "raw")
    assert model.opened_prompt(QUESTION, STORY)


# -- completions ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen3", "gpt2", "mixtral"])
@pytest.mark.parametrize("template", ["system", "none"])
def test_only_the_completion_is_the_response_and_is_averaged(
    architecture: str, template: Template
) -> None:
    model = make_model(architecture, template)
    openings = [OPENING, STORY, "No.", f"{OPENING}well, {OPENING}"]
    planned = [row(opening, number) for number, opening in enumerate(openings)]
    rows: list[dict[str, object]] = []
    table = generate_responses(
        model, planned, Sampling(temperature=1.0, max_new_tokens=9), elicited_by="scenarios",
        on_batch=rows.extend,
    )  # fmt: skip
    ids = {str(made["question_id"]): made["token_ids"] for made in rows}
    texts, generated = [], []
    for made, opening in zip(table.to_dict("records"), openings, strict=True):
        assert made["instruction"] == opening
        assert made["prompt"] == model.opened_prompt(QUESTION, opening)
        known = ids[made["question_id"]]
        assert isinstance(known, (list, tuple))
        seen = [*model.encode_prompt(made["prompt"]), *known]
        # The model saw the prompt, and wrote the response after it.
        text = model.tokenizer.decode(seen, skip_special_tokens=False)
        assert text.removeprefix(BOS).startswith(made["prompt"].removeprefix(BOS))
        encoded = model.encode_response(made["prompt"], made["response"], ResponseIds(tuple(known)))
        assert encoded.ids == seen
        assert not any(encoded.is_response[: made["prompt_tokens"]])
        texts.append((made["prompt"], made["response"]))
        generated.append(ResponseIds(tuple(known)))
    together = capture_means(model, texts, response_ids=generated, batch_size=4)
    alone = capture_means(model, texts, response_ids=generated, batch_size=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    for number, ((prompt, _), known_ids) in enumerate(zip(texts, generated, strict=True)):
        n_prompt = len(model.encode_prompt(prompt))
        whole = torch.tensor([[*model.encode_prompt(prompt), *known_ids.ids]])
        with torch.inference_mode():
            states = model.model(whole, output_hidden_states=True).hidden_states
        special = set(model.tokenizer.all_special_ids)
        kept = [n_prompt + i for i, token in enumerate(known_ids.ids) if token not in special]
        # The embedding output and the first blocks; the last is after the final norm there.
        for layer in range(model.n_blocks):
            expected = states[layer][0, kept].mean(0)
            torch.testing.assert_close(alone[number, layer], expected, rtol=1e-3, atol=1e-3)


def test_the_last_prompt_token_is_the_last_of_the_opening() -> None:
    model = make_model("llama", "system")
    prompt = model.opened_prompt(QUESTION, OPENING)
    means = capture_means(model, [(prompt, " Yes.")], positions=["prompt_last"])["prompt_last"]
    with torch.inference_mode():
        ids = torch.tensor([model.encode_prompt(prompt)])
        states = model.model(ids, output_hidden_states=True).hidden_states
    assert model.tokenizer.decode(ids[0, -1:]) == ":"
    torch.testing.assert_close(means[0, 1], states[1][0, -1], rtol=1e-3, atol=1e-3)
