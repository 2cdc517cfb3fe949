"""The interface of generation engines: requests and finished responses."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel

__all__ = ["Generated", "GenerationEngine", "Request", "refuse_interventions"]


@dataclass(frozen=True)
class Request:
    """One response to be generated.

    Attributes:
        name: A distinct id.
        prompt: The rendered prompt.
        ids: Its tokens, including BOS if the model uses one.
        stream: Names the row's random stream; None is `name`. Rows of one stream and prompt draw
            the same response, unless they are steered differently.
        interventions: What changes the residual stream of this row alone.
    """

    name: str
    prompt: str
    ids: list[int]
    stream: str | None = None
    interventions: tuple[Intervention, ...] = ()

    @property
    def stream_name(self) -> str:
        """The name of the row's random stream."""
        return self.name if self.stream is None else self.stream


class GenerationEngine(Protocol):
    """Generates responses to rendered prompts.

    Attributes:
        name: Its name in `ENGINES`.
        language_model: Renders and encodes prompts; it may have no weights.
    """

    name: str
    language_model: LanguageModel

    @property
    def as_loaded(self) -> dict[str, Any]:
        """What metadata should record of the weights besides the model's name."""
        ...

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
            requests: All requests of a stage, including finished ones.
            sampling: Temperature, top-p, length and seed.
            finished: Names of finished requests.
            on_finished: Called with finished responses, each once, in any order.

        Raises:
            TraitvecError: If a response cannot be generated; those reported before stay valid. If
                a request has interventions and the engine cannot steer.
        """
        ...

    def close(self) -> None:
        """Release GPU memory and connections."""
        ...


@dataclass(frozen=True)
class Generated:
    """A finished response.

    Attributes:
        name: The request's name.
        response: The answer, without thinking.
        thinking: The visible reasoning before the answer; empty for most models.
        prompt_tokens: Tokens of the prompt.
        response_tokens: Generated tokens, including thinking, without the end token.
        finish_reason: `stop` or `length`.
        ids: The generated tokens, including thinking, without the end token; None where the engine
            does not report them, or where the answer does not begin at a token.
        n_thinking: How many of `ids` come before the answer.
    """

    name: str
    response: str
    thinking: str
    prompt_tokens: int
    response_tokens: int
    finish_reason: str
    ids: tuple[int, ...] | None = None
    n_thinking: int = 0


def refuse_interventions(requests: Sequence[Request], engine: str) -> None:
    """Raise an error if a request is to be steered, for engines that cannot."""
    if any(request.interventions for request in requests):
        raise TraitvecError(
            f"engine: {engine} cannot steer; generate these requests with engine: transformers"
        )
