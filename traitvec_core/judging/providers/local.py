"""A judge in this process: the mean over 0–100, weighted by the model's probabilities."""

import json
from collections.abc import Callable, Mapping, Sequence

from traitvec_core.judging.reading import MIN_NUMBER_MASS, Judgement, weighted_score
from traitvec_core.models.files import model_fingerprint
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.memory import in_halves
from traitvec_core.models.prompt_reader import PromptReader, prompt_reader
from traitvec_core.trait import break_up

__all__ = ["LocalJudge"]

# Raise when the arithmetic changes: all judgements are then made again.
_VERSION = 1
# Least probability of a beginning whose longer numbers are computed.
_MIN_PREFIX_MASS = 1e-4
# Room for an answer in the context: "100" in three tokens.
_ANSWER_TOKENS = 3
_Ids = tuple[int, ...]


class LocalJudge:
    """Scores prompts with a loaded language model.

    The score is Σ n·p(n) / Σ p(n) over the integers 0–100, where p(n) is the probability that the
    answer is exactly that number: for a tokenizer that splits 42 into two tokens, p(4)·p(2 | 4),
    and for 4 itself, p(4) times the probability that no digit follows.

    Args:
        model: The model.
        batch_size: Most prompts per forward pass; None chooses by their length and the device.
        weights: Hash of the model's weights; by default of the files that its name refers to.
        preflight: Called with this judge before the first prompt that has no judgement; see
            `judging.preflight`.
    """

    def __init__(
        self,
        model: LanguageModel,
        batch_size: int | None = None,
        weights: str | None = None,
        preflight: "Callable[[LocalJudge], None] | None" = None,
    ) -> None:
        self.name = model.name
        self._weights = weights or model_fingerprint(model.name)
        self._model = model
        self._batch_size = batch_size
        self._preflight = preflight

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the prompt."""
        return json.dumps(
            {
                "provider": "local",
                "model": self.name,
                "weights": self._weights,
                "dtype": str(self._model.model.dtype).removeprefix("torch."),
                "scoring": "weighted",
                "version": _VERSION,
            }
        )

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool] = lambda prompt: False,
        repeat: int = 0,
    ) -> None:
        """Judge distinct prompts, shortest first; a batch of known prompts is skipped."""
        if self._preflight is not None and not all(map(is_known, prompts)):
            preflight, self._preflight = self._preflight, None
            try:
                preflight(self)
            except BaseException:
                self._preflight = preflight
                raise
        # Sorted, so that the batches don't depend on the order of the prompts.
        prompts = sorted(prompts)
        rendered = [self._render(prompt) for prompt in prompts]
        ids = [self._model.encode_prompt(text) for text in rendered]
        limit = self._model.context_tokens
        readable = [
            i for i in range(len(ids)) if limit is None or len(ids[i]) + _ANSWER_TOKENS <= limit
        ]
        unread = {prompts[i] for i in set(range(len(ids))) - set(readable)}
        unread = {prompt for prompt in unread if not is_known(prompt)}
        if unread:
            reason = f"longer than the judge can read ({limit} tokens)"
            on_batch({prompt: Judgement(None, "error", reason) for prompt in unread})
        if not readable:
            return
        numbers = self._number_tokens(rendered[readable[0]])
        tokens = sorted({token for path in numbers for token in path})
        goes_on = any(len(path) > 1 for path in numbers)
        reader = prompt_reader(self._model, [ids[i] for i in readable], tokens, goes_on=goes_on)

        def read(batch: Sequence[int]) -> list[dict[int, float]]:
            return _number_masses(reader, batch, numbers, tokens)

        for whole_batch in reader.batches(self._batch_size):
            if all(is_known(prompts[readable[place]]) for place in whole_batch):
                continue
            for batch, masses in in_halves(whole_batch, read, f"a prompt of the judge {self.name}"):
                results = {readable[place]: mass for place, mass in zip(batch, masses, strict=True)}
                on_batch(
                    {
                        prompts[i]: _weighted_mean(mass, len(ids[i]))
                        for i, mass in results.items()
                        if not is_known(prompts[i])
                    }
                )

    def _render(self, prompt: str) -> str:
        # A response with the judge's control tokens must not end the turn.
        return self._model.prompt(break_up(prompt, self._model.control_tokens))

    def _number_tokens(self, rendered: str) -> dict[_Ids, int]:
        """Return token sequence → number, as the tokenizer encodes it directly after a prompt."""
        prompt = self._model.encode_prompt(rendered)
        numbers: dict[_Ids, int] = {}
        for number in range(101):
            encoded = self._model.encode_response(rendered, str(number)).ids
            numbers[tuple(encoded[len(prompt) :])] = number
        return numbers


def _number_masses(
    reader: PromptReader, prompts: Sequence[int], numbers: dict[_Ids, int], tokens: list[int]
) -> list[dict[int, float]]:
    """Return number → probability for each prompt of a batch.

    Args:
        reader: Reads the prompts.
        prompts: The prompts, by the reader's index.
        numbers: Token sequence → number.
        tokens: The tokens whose probabilities the reader gives.
    """
    masses: list[dict[int, float]] = [{} for _ in prompts]
    column = {token: place for place, token in enumerate(tokens)}
    # The tokens that may follow each beginning of a number: a tree of their token sequences.
    following: dict[_Ids, set[int]] = {}
    for path in numbers:
        for k in range(len(path)):
            following.setdefault(path[:k], set()).add(path[k])
    # (row, tokens so far, their probability); one round per token of the longest number.
    open_: list[tuple[int, _Ids, float]] = [(row, (), 1.0) for row in range(len(prompts))]
    probabilities = reader.read(prompts)
    while open_:
        still_open: list[tuple[int, _Ids, float]] = []
        for (row, prefix, mass), probability in zip(open_, probabilities.tolist(), strict=True):
            shares = {token: probability[column[token]] for token in sorted(following[prefix])}
            if prefix in numbers:
                # Exactly this number: no token of a longer one follows.
                masses[row][numbers[prefix]] = mass * max(0.0, 1.0 - sum(shares.values()))
            for token, share in shares.items():
                path = (*prefix, token)
                if path in following and mass * share >= _MIN_PREFIX_MASS:
                    still_open.append((row, path, mass * share))
                elif path in numbers:
                    masses[row][numbers[path]] = mass * share
            if prefix == () and not sum(shares.values()) >= MIN_NUMBER_MASS:
                # Numbers cannot have more probability than their first tokens: no score either way.
                masses[row] = {}
                still_open = [item for item in still_open if item[0] != row]
        open_ = still_open
        if open_:
            probabilities = reader.go_on([row for row, _, _ in open_], [p for _, p, _ in open_])
    return masses


def _weighted_mean(mass: dict[int, float], tokens_in: int) -> Judgement:
    score = weighted_score(mass)
    if score is None:
        reason = f"less than {MIN_NUMBER_MASS:g} of the probability is on numbers"
        return Judgement(None, "unparseable", reason, tokens_in)
    return Judgement(score, "ok", tokens_in=tokens_in)
