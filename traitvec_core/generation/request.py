"""What is asked of a generation engine, and what comes back."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from traitvec_core.experiment import Sampling
from traitvec_core.models.language_model import LanguageModel

__all__ = ["Generated", "GenerationEngine", "Request"]


@dataclass(frozen=True)
class Request:
    """One response to be generated.

    Attributes:
        name: A distinct id, which names the row's random stream.
        prompt: The rendered prompt: all that the model sees.
        ids: Its tokens, BOS included where the model wants one.
    """

    name: str
    prompt: str
    ids: list[int]


class GenerationEngine(Protocol):
    """Generates responses to rendered prompts.

    Attributes:
        name: Its name in `ENGINES`.
        language_model: Renders and encodes prompts; its weights may be missing.
    """

    name: str
    language_model: LanguageModel

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: "Callable[[list[Generated]], None]",
    ) -> None:
        """Generate every request that is not finished.

        Args:
            requests: All requests of a stage, also those that an earlier call finished.
            sampling: Temperature, top-p, length and seed.
            finished: Names of requests that are finished already.
            on_finished: Called with responses as they are done, each once, in any order.

        Raises:
            TraitvecError: If a response cannot be had; those reported before it stay valid.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds: memory of a GPU, connections."""
        ...


@dataclass(frozen=True)
class Generated:
    """A finished response.

    Attributes:
        name: The request's name.
        response: What the model answered, without its thinking.
        thinking: What it thought aloud before; empty for nearly all models.
        prompt_tokens: Tokens of the prompt.
        response_tokens: Tokens that were generated, thinking included, the end token not.
        finish_reason: `stop` or `length`.
    """

    name: str
    response: str
    thinking: str
    prompt_tokens: int
    response_tokens: int
    finish_reason: str
