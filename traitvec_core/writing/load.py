"""Loads the writer that a name or an experiment's settings choose."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.load import JudgeChoice, check_environment
from traitvec_core.judging.prices import price_of
from traitvec_core.models.files import check_model
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.settings.scorer import is_scorer
from traitvec_core.writing.providers.anthropic import AnthropicWriter
from traitvec_core.writing.providers.openai import OpenAIWriter
from traitvec_core.writing.writer import ApiWriter, Writer, WriterModel

if TYPE_CHECKING:
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["NoWriterError", "load_writer"]

# Ten pairs take a model longer than a score.
_SHORTEST_TIMEOUT_S = 300.0
# Provider → the class of its models, and where its keys are.
_PROVIDERS: dict[str, tuple[Any, str]] = {
    "openai": (OpenAIWriter, "https://platform.openai.com/api-keys"),
    "anthropic": (AnthropicWriter, "https://platform.claude.com/settings/keys"),
}


class NoWriterError(TraitvecError):
    """There is no model that could draft: no key, or a judge that cannot write."""


def load_writer(
    name: str | None = None,
    settings: ExperimentSettings | None = None,
    *,
    load_model: "Callable[[str], LanguageModel] | None" = None,
    say: Callable[[str], None] = lambda text: None,
) -> Writer:
    """Return a model that drafts definitions.

    Args:
        name: The model; by default the experiment's judge. A name of a provider's model is asked
            there, any other on the judge's own server (`judge_base_url`) if there is one, else it
            is loaded into this process.
        settings: The experiment's settings, for its judge, server, prices and timeout. The caller
            checks before that the owner allows the server that they name (`trust.check_trust`).
        load_model: Loads a model into this process.
        say: Called with a line while a server does not answer.

    Raises:
        NoWriterError: If there is no key, or the judge cannot write.
        TraitvecError: If the model cannot be used otherwise.
    """
    if settings is None:
        if name is None:
            raise TraitvecError("name a writer, such as gpt-6.1-terra, or give settings")
        settings = ExperimentSettings(model=EMBEDDED_MODEL, judge_model=name)
    choice = JudgeChoice(settings, name)
    if is_scorer(choice.name) or choice.name == EMBEDDED_MODEL:
        raise NoWriterError(
            f"{choice.name!r} cannot write definitions; name a model that can (--writer-model), for"
            f" example gpt-6.1-terra with OPENAI_API_KEY from {_PROVIDERS['openai'][1]}"
        )
    api = choice.provider.api
    if api is None:
        return _local(choice.name, load_model)
    model_class, keys_page = _PROVIDERS[choice.provider.name]
    check_environment(choice)
    key = key_from_environment(choice.key_name)
    if key is None and choice.key_name == api.key_name:
        raise NoWriterError(
            f"writer {choice.name!r} needs a key: create one at {keys_page} and set"
            f" {choice.key_name} in the environment or in .env, or name another --writer-model"
        )
    model = model_class(choice.name, key, choice.key_name, choice.address)
    return ApiWriter(
        cast(WriterModel, model),
        price_of(choice.name, settings.judge_prices),
        max(settings.judge_timeout_s, _SHORTEST_TIMEOUT_S),
        say,
    )


def _local(name: str, load_model: "Callable[[str], LanguageModel] | None") -> Writer:
    from traitvec_core.models.language_model import load_language_model
    from traitvec_core.writing.local import LocalWriter

    check_model(name)
    return LocalWriter((load_model or load_language_model)(name))
