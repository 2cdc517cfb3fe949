"""Drafts by a language model in this process."""

from traitvec_core.experiment import JudgePrice, Sampling
from traitvec_core.generation.request import Generated
from traitvec_core.generation.responses import generate_texts
from traitvec_core.judging.asking import Usage
from traitvec_core.models.files import model_fingerprint
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.trait import break_up
from traitvec_core.writing.writer import Question, Unusable, Written

__all__ = ["LocalWriter"]

_TEMPERATURE = 0.7
# Kept free in the context for reasoning and for a tokenizer that needs more than was estimated.
_FEWEST_TOKENS = 64


class LocalWriter:
    """A loaded language model that drafts. It costs nothing, and has no structured output.

    Args:
        model: The model.
    """

    provider = "local"
    address = ""

    def __init__(self, model: LanguageModel) -> None:
        self.name = model.name
        self.identity = f"local {model.name} {model_fingerprint(model.name)}"
        self.price: JudgePrice | None = JudgePrice(input=0, output=0)
        self._model = model

    def ask(self, question: Question) -> Written:
        """Return the answer to a question.

        Raises:
            TraitvecError: If the prompt does not fit the model's context.
        """
        prompt = self._model.prompt(break_up(question.prompt, self._model.control_tokens))
        room = question.room
        if (limit := self._model.context_tokens) is not None:
            left = limit - len(self._model.encode_prompt(prompt))
            room = max(_FEWEST_TOKENS, min(room, left))
        answers: list[Generated] = []
        generate_texts(
            self._model,
            ["draft"],
            [prompt],
            Sampling(temperature=_TEMPERATURE, max_new_tokens=room, seed=question.seed),
            on_finished=answers.extend,
        )
        (answer,) = answers
        text: str | Unusable = answer.response
        if answer.finish_reason == "length":
            text = Unusable("it was cut off at the token limit", is_cut_off=True)
        return Written(text, Usage(answer.prompt_tokens, answer.response_tokens), 0.0)

    def most_usd(self, question: Question) -> float:
        """Return 0."""
        return 0.0
