"""What a generation engine needs to be created."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from traitvec_core.models.files import LoadOptions

if TYPE_CHECKING:
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["KEY_NAME", "EngineOptions"]

# The environment variable with the key of the server at `engine_url`.
KEY_NAME = "GENERATION_API_KEY"


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to be created.

    Attributes:
        model: The model's name, as the experiment gives it.
        load_model: Loads the model with its weights; only called by engines that need them.
        loading: Options for engines that load the model themselves.
        batch_size: Concurrent rows, or calls to a server; None chooses a number.
        url: Address of the server.
        served_name: The model's name there, if it is another.
        must_read: Whether the server has to read activations.
        tensor_parallel: GPUs over which vLLM splits the weights.
        max_model_len: Longest prompt with its response for vLLM, in tokens; None chooses.
        is_beside_a_judge: Whether a judge's model needs its part of the same GPU.
        claim_gpu: Called before an engine that loads its own model takes a GPU.
        say: Called with a line that the user should see.
    """

    model: str
    load_model: "Callable[[], LanguageModel]"
    loading: LoadOptions = field(default_factory=LoadOptions)
    batch_size: int | None = None
    url: str | None = None
    served_name: str | None = None
    must_read: bool = False
    tensor_parallel: int = 1
    max_model_len: int | None = None
    is_beside_a_judge: bool = False
    claim_gpu: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: None
