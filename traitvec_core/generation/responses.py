"""Generates planned responses, or texts for any rendered prompts, with any engine."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.plan import PlannedResponse
from traitvec_core.generation.request import Generated, GenerationEngine, Request
from traitvec_core.generation.transformers_engine import TransformersEngine
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.storage.response_tables import POLE, THINKING, names_of, response_columns

__all__ = ["RESPONSE_COLUMNS", "as_engine", "generate_responses", "generate_texts"]

RESPONSE_COLUMNS = (*names_of(response_columns()), POLE)


def generate_responses(
    engine: GenerationEngine | LanguageModel,
    planned: Sequence[PlannedResponse],
    sampling: Sampling,
    *,
    elicited_by: ElicitedBy = "instructions",
    instruction_role: str = "auto",
    batch_size: int | None = None,
    finished: Iterable[dict[str, Any]] = (),
    on_batch: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> pd.DataFrame:
    """Generate every planned response.

    A response depends on its id, the seed and its prompt, not on its batch or the order.

    Args:
        engine: The engine, or a loaded model to generate with in this process.
        planned: What to generate; see `plan_responses`.
        sampling: Temperature, top-p, length and seed.
        elicited_by: What the plan's texts are: instructions, or the openings of `scenarios`.
        instruction_role: The role of the message with the instruction.
        batch_size: Concurrent rows when a model is given; None chooses a number.
        finished: Rows of an earlier, interrupted call; they are not reported again.
        on_batch: Called with finished rows. Beside the table's columns they have `token_ids`, the
            generated tokens, where the engine reports them, and `n_thinking`, how many of them come
            before the response.

    Returns:
        A table in the order of the plan with `RESPONSE_COLUMNS`, followed by `thinking` if any
        response has some. `finish_reason` is `stop` or `length`.

    Raises:
        TraitvecError: If a prompt does not fit the model's context, or the engine fails.
    """
    engine = as_engine(engine, batch_size)
    model = engine.language_model
    done = {row["question_id"]: row for row in finished}
    prompts = [
        model.elicited_prompt(item.question, item.instruction, elicited_by, instruction_role)
        for item in planned
    ]
    names = [item.question_id for item in planned]
    by_name = dict(zip(names, zip(planned, prompts, strict=True), strict=True))

    def keep(texts: list[Generated]) -> None:
        rows = [_row(*by_name[text.name], text) for text in texts]
        done.update({row["question_id"]: row for row in rows})
        on_batch(rows)

    generate_texts(engine, names, prompts, sampling, skip=set(done), on_finished=keep)
    rows = [done[name] for name in names]
    has_thinking = any("thinking" in row for row in rows)
    columns = [*RESPONSE_COLUMNS, *([THINKING.name] if has_thinking else [])]
    table = pd.DataFrame(rows, columns=columns)
    return table.fillna({"thinking": ""}) if has_thinking else table


def generate_texts(
    engine: GenerationEngine | LanguageModel,
    names: Sequence[str],
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    streams: Sequence[str] | None = None,
    interventions: Sequence[Sequence[Intervention]] | None = None,
    batch_size: int | None = None,
    skip: set[str] | frozenset[str] = frozenset(),
    on_finished: Callable[[list[Generated]], None] = lambda texts: None,
) -> dict[str, str]:
    """Generate one text for each rendered prompt.

    Args:
        engine: The engine, or a loaded model; hooks that steer a model are respected.
        names: A distinct id for each row.
        prompts: Rendered prompts.
        sampling: Temperature, top-p, length and seed.
        streams: Names of the rows' random streams; by default their ids. Rows of one stream draw
            with the same numbers.
        interventions: What steers each row alone, in one batch with the others.
        batch_size: Concurrent rows when a model is given; None chooses a number.
        skip: Names of finished rows.
        on_finished: Called with finished texts.

    Returns:
        The response by name, in the order of the names, without those skipped.

    Raises:
        TraitvecError: If a prompt does not fit the model's context, the engine fails or cannot
            steer, or an intervention does not fit the model.
    """
    engine = as_engine(engine, batch_size)
    model = engine.language_model
    requests = [
        Request(name, prompt, model.encode_prompt(prompt), stream, tuple(items))
        for name, prompt, stream, items in zip(
            names,
            prompts,
            [None] * len(names) if streams is None else streams,
            [()] * len(names) if interventions is None else interventions,
            strict=True,
        )
    ]
    _check_lengths(model, requests, sampling.max_new_tokens)
    texts: dict[str, str] = {}

    def keep(new: list[Generated]) -> None:
        texts.update({text.name: text.response for text in new})
        on_finished(new)

    engine.generate(requests, sampling, finished=skip, on_finished=keep)
    return {name: texts[name] for name in names if name in texts}


def as_engine(
    engine: GenerationEngine | LanguageModel, batch_size: int | None = None
) -> GenerationEngine:
    """Return an engine; for a loaded model, the one that generates with it in this process."""
    if isinstance(engine, LanguageModel):
        return TransformersEngine(engine, batch_size=batch_size)
    return engine


def _row(item: PlannedResponse, prompt: str, text: Generated) -> dict[str, Any]:
    row = {
        "question": item.question,
        "instruction": item.instruction,
        "prompt": prompt,
        "response": text.response,
        "question_id": item.question_id,
        "prompt_tokens": text.prompt_tokens,
        "response_tokens": text.response_tokens,
        "finish_reason": text.finish_reason,
        "pole": item.pole,
    }
    if text.ids is not None:
        row |= {"token_ids": list(text.ids), "n_thinking": text.n_thinking}
    return row | ({"thinking": text.thinking} if text.thinking else {})


def _check_lengths(model: LanguageModel, requests: Sequence[Request], new_tokens: int) -> None:
    limit = model.context_tokens
    if limit is None:
        return
    for request in requests:
        if len(request.ids) + new_tokens > limit:
            raise TraitvecError(
                f"{request.name}: a prompt of {len(request.ids)} tokens and {new_tokens} new ones"
                f" exceed the context of {model.name} ({limit} tokens); shorten the question or"
                " lower sampling.max_new_tokens"
            )
