"""Stage 2: activations of the responses that the filter keeps."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from traitvec_core.elicited_by import QUESTION_GAP, in_words_of
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.stages.context import StageContext, StageOutput, now
from traitvec_core.stages.inputs import content_of, model_input
from traitvec_core.stages.spec import (
    FILTER_SETTINGS,
    MODEL_SETTINGS,
    PROMPT_SETTINGS,
    StageSpec,
    reading_place,
)
from traitvec_core.storage.files import (
    ACTIVATIONS_FILE,
    OPPOSITE_FILE,
    RESTYLED_FILE,
    display_path,
)
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_tensor
from traitvec_core.storage.manifests import ActivationsManifest

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from traitvec_core.models.language_model import LanguageModel
    from traitvec_core.models.reading import Reader

__all__ = ["SPEC", "make_activations"]


@dataclass(frozen=True)
class _Text:
    """A prompt and the tokens of its response.

    `is_tokenised_again` says that the tokens are not known to be the generated ones.
    """

    prompt: str
    response: ResponseIds
    is_tokenised_again: bool


def make_activations(context: StageContext) -> StageOutput:
    """Read activations of every kept response at every layer and position.

    At the first position, each response is also read under the opposite instruction of its pair,
    and with `style_stress` some are read after changes of style.
    """
    import torch

    from traitvec_core.models.activations import pack

    settings = context.settings
    kept = _kept_examples(context)
    engine = context.reading_engine()
    model = engine.language_model
    recorded = context.folder.read_token_ids()
    texts = [
        _text(model, row["prompt"], row["response"], recorded.get(row["question_id"]))
        for row in kept.to_dict("records")
    ]
    opposite, reason = _under_opposite_instructions(context, model, kept, texts)
    first, *others = settings.positions
    again, styled = _restyled(model, kept, settings.style_stress)
    passes = [(texts, settings.positions)] + ([(opposite, [first])] if opposite else [])
    passes += [(of_style, [first]) for of_style in styled.values()]
    # An engine that steers reads, too.
    means, *others_means = _capture(context, cast("Reader", engine.reader), passes)
    opposite_means, styled_means = others_means[: bool(opposite)], others_means[bool(opposite) :]
    # A kept response may consist of white space or special tokens alone, and has no mean.
    present = ~torch.stack([m.isnan().flatten(1).all(1) for m in means.values()]).any(0)
    examples = kept[present.numpy()]
    if examples["pole"].nunique() < 2:
        raise TraitvecError(
            f"{display_path(context.folder.path)}: one pole has no response with any text left; see"
            " responses/*.csv"
        )
    stored = {name: pack(values[present]) for name, values in means.items()}
    files = {ACTIVATIONS_FILE: dump_tensor(stored[first])}
    files |= {f"activations/{name}.pt": dump_tensor(stored[name]) for name in others}
    for values in opposite_means:
        files[OPPOSITE_FILE] = dump_tensor(pack(values[first][present]))
    is_read = present[again]
    for values in styled_means:
        # A style may leave nothing to read.
        is_read = is_read & ~values[first].isnan().flatten(1).all(1)
    for style, values in zip(styled, styled_means, strict=True):
        files[RESTYLED_FILE.format(style=style)] = dump_tensor(pack(values[first][is_read]))
    n_again = sum(t.is_tokenised_again for t, p in zip(texts, present, strict=True) if p)
    manifest = ActivationsManifest(
        model=settings.model,
        n_examples=len(examples),
        n_layers=model.n_layers,
        hidden_dim=model.hidden_dim,
        threshold=settings.threshold,
        extraction_date=now(),
        engine=engine.name,
        **engine.as_loaded,
        dtype=str(stored[first].dtype).removeprefix("torch."),
        position=first,
        other_positions=others,
        min_coherence=settings.min_coherence,
        n_positive=int((examples["pole"] == "pos").sum()),
        n_negative=int((examples["pole"] == "neg").sum()),
        without_tokens=int((~present).sum()),
        n_from_ids=len(examples) - n_again,
        n_tokenised_again=n_again,
        opposite_instruction=reason,
        mean_norm_by_layer=stored[first].float().norm(dim=-1).mean(0).tolist(),
        question_ids=examples["question_id"].tolist(),
        restyled=list(styled),
        restyled_ids=kept["question_id"].iloc[again][is_read.numpy()].tolist(),
    )
    return files, manifest.model_dump()


def _kept_examples(context: StageContext) -> "pd.DataFrame":
    from traitvec_core.validation.elicitation import keep_mask

    judged = context.folder.read_responses()
    kept = judged[keep_mask(judged, context.settings.response_filter)]
    counts = {pole: int((kept["pole"] == pole).sum()) for pole in ("pos", "neg")}
    if not all(counts.values()):
        raise TraitvecError(
            f"{display_path(context.folder.path)}: the filter keeps {counts['pos']} positive and"
            f" {counts['neg']} negative responses, and a direction needs both; see the checks of"
            " judged_responses"
        )
    ordered: pd.DataFrame = kept.reset_index(drop=True)
    return ordered


def _text(model: "LanguageModel", prompt: str, response: str, ids: ResponseIds | None) -> _Text:
    from traitvec_core.generation import close_thinking, decode_response

    # A text that was changed after it was generated has other tokens.
    if ids is not None and decode_response(model, ids) == response:
        return _Text(prompt, ids, is_tokenised_again=False)
    # The thinking, if there was some, is not part of the text.
    closed = close_thinking(prompt)
    encoded = model.encode_response(closed, response)
    again = ResponseIds(tuple(encoded.ids[encoded.n_prompt :]))
    return _Text(closed, again, is_tokenised_again=True)


def _under_opposite_instructions(
    context: StageContext, model: "LanguageModel", kept: "pd.DataFrame", texts: list[_Text]
) -> tuple[list[_Text], str]:
    """Return the same responses after the prompts of the other pole: instructions or openings.

    Where the chat template does not give the prompt that was really used (it may write the date, or
    an imported prompt follows another template), the instruction is replaced inside that prompt. If
    it is not there, there are no texts, and the second value says why.
    """
    from traitvec_core.generation import close_thinking
    from traitvec_core.validation.elicitation import instruction_of

    settings = context.settings
    elicited_by = settings.elicitation
    pairs = context.folder.definition().pairs(elicited_by)
    opposite: list[_Text] = []
    for row, text in zip(kept.to_dict("records"), texts, strict=True):
        number = instruction_of(row["question_id"])
        if number >= len(pairs):
            gone = f"the definition no longer has instruction pair {number}"
            return [], in_words_of(elicited_by, gone)
        own, other = pairs[number].pos, pairs[number].neg
        if row["pole"] == "neg":
            own, other = other, own
        prompt = _exchange(model, row, own, other, settings)
        if prompt is None:
            missing = in_words_of(elicited_by, "does not contain the definition's instruction")
            return [], f"the prompt of {row['question_id']} {missing}"
        opposite.append(
            replace(text, prompt=close_thinking(prompt) if text.is_tokenised_again else prompt)
        )
    return opposite, ""


def _restyled(
    model: "LanguageModel", kept: "pd.DataFrame", per_pole: int
) -> "tuple[list[int], dict[str, list[_Text]]]":
    """Return some rows, spread over each pole's, and their responses after each change of style."""
    from traitvec_core.validation.restyling import STYLES, restyle

    rows: list[int] = []
    for pole in ("pos", "neg"):
        of_pole = kept.index[kept["pole"] == pole].tolist()
        n = min(per_pole, len(of_pole))
        rows += [of_pole[number * len(of_pole) // n] for number in range(n)]
    records = kept.iloc[rows].to_dict("records") if rows else []
    return rows, {
        style: [_text(model, r["prompt"], restyle(r["response"], style), None) for r in records]
        for style in (STYLES if rows else ())
    }


def _exchange(
    model: "LanguageModel",
    row: dict[Any, Any],
    own: str,
    other: str,
    settings: ExperimentSettings,
) -> str | None:
    """The row's prompt with the other instruction; None if it does not contain its own."""
    how = (settings.elicitation, settings.instruction_role)
    with suppress(TraitvecError):
        if row["prompt"] == model.elicited_prompt(row["question"], own, *how):
            return model.elicited_prompt(row["question"], other, *how)
    # Chat templates remove white space around a message.
    own, other = own.strip(), other.strip()
    if settings.elicitation == "scenarios":
        own, other = (text.replace(QUESTION_GAP, row["question"]) for text in (own, other))
        # An opening is the end of its prompt; the question may quote it.
        return row["prompt"].removesuffix(own) + other if row["prompt"].endswith(own) else None
    before, instruction, after = str(row["prompt"]).partition(own)
    return f"{before}{other}{after}" if instruction else None


def _capture(
    context: StageContext,
    reader: "Reader",
    passes: Sequence[tuple[list[_Text], Sequence[str]]],
) -> "list[dict[str, torch.Tensor]]":
    """Return the means of each pass's texts by position, `[n_texts, n_layers, hidden_dim]`."""
    from traitvec_core.models.activations import capture_means

    total = sum(len(texts) for texts, _ in passes)
    captured: list[dict[str, torch.Tensor]] = []
    for texts, positions in passes:
        before = sum(len(earlier) for earlier, _ in passes[: len(captured)])

        def report(done: int, before: int = before) -> None:
            context.bench.progress("activations", before + done, total)

        captured.append(
            capture_means(
                reader,
                [(text.prompt, "") for text in texts],
                response_ids=[text.response for text in texts],
                positions=positions,
                on_batch=report,
            )
        )
        context.cost.tokens_in += sum(
            len(reader.language_model.encode_prompt(text.prompt)) + len(text.response.ids)
            for text in texts
        )
    return captured


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    return {
        "elicitation": folder.definition().elicitation_hash(settings.elicitation),
        **content_of(folder, "responses", "judged_responses"),
        **model_input(settings),
    }


SPEC = StageSpec(
    name="activations",
    upstream=("definition", "responses", "judged_responses"),
    version="3",
    settings=(*MODEL_SETTINGS, "positions", "style_stress", *PROMPT_SETTINGS, *FILTER_SETTINGS),
    inputs=_inputs,
    make=make_activations,
    place=reading_place,
)
