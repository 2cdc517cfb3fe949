"""Loads the judge that an experiment's settings name."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, check_address
from traitvec_core.judging.load_scorer import check_scorer, load_scorer, scorer_fingerprint
from traitvec_core.judging.prices import price_of
from traitvec_core.judging.providers.table import PROVIDERS, provider_of
from traitvec_core.models.files import check_model, model_fingerprint
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.settings.scorer import is_scorer

if TYPE_CHECKING:
    from traitvec_core.judging.api import ApiJudge
    from traitvec_core.judging.budget import Budget
    from traitvec_core.judging.judge import Judge
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.models.language_model import LanguageModel
    from traitvec_core.storage.folders import TraitFolder

__all__ = [
    "JudgeChoice",
    "api_judge",
    "check_environment",
    "check_judge",
    "check_judges_first",
    "is_judge_compared",
    "judge_fingerprint",
    "load_judge",
    "used_judges",
]

# The key of the user's own server, at `judge_base_url`.
_OWN_SERVER_KEY = "JUDGE_API_KEY"


class JudgeChoice:
    """The model that judges, its provider and its server.

    Args:
        settings: The experiment's settings.
        name: The model; by default the experiment's judge.

    Attributes:
        name: The model.
        provider: Its provider.
        address: The server; empty for the provider's own.
        key_name: The environment variable of the key; empty when it runs in this process.
    """

    def __init__(self, settings: ExperimentSettings, name: str | None = None) -> None:
        self.name = name or settings.judge_model
        own_server = settings.judge_base_url
        if name is None or name == settings.judge_model:
            self.provider = provider_of(self.name, settings.judge_provider, own_server)
        else:
            # A second judge with the name of a provider's model is asked there; any other is on
            # the server of the first judge.
            self.provider = provider_of(name)
            if not self.provider.is_in_process:
                own_server = None
            elif own_server and settings.judge_provider != "local":
                self.provider = provider_of(name, settings.judge_provider, own_server)
        self.address = ""
        self.key_name = ""
        api = self.provider.api
        if api is not None:
            # Not the user's account key: a shared experiment.yaml could send it to any address.
            self.key_name = _OWN_SERVER_KEY if own_server else api.key_name
            address = own_server or os.environ.get(api.address_name, "").strip()
            self.address = api.normalized(address)


def judge_fingerprint(
    settings: ExperimentSettings, name: str | None = None, folder: Path | None = None
) -> str:
    """Return what determines a judge's judgements, as far as the settings say.

    Args:
        settings: The experiment's settings.
        name: The judge; by default the experiment's.
        folder: The experiment's folder, for the files of Python scorers.
    """
    choice = JudgeChoice(settings, name)
    if is_scorer(choice.name):
        return scorer_fingerprint(choice.name, folder)
    if choice.provider.is_in_process:
        return model_fingerprint(choice.name)
    return f"{choice.provider.name}:{choice.name}"


def used_judges(
    settings: ExperimentSettings, traits: Iterable[str] | None = None
) -> list[JudgeChoice]:
    """Return the judges that score some traits and coherence; not the second judge.

    Args:
        settings: The experiment's settings.
        traits: The traits; by default all that the settings name, and any other.
    """
    if traits is None:
        names = [settings.judge_model, *settings.scorers.values()]
    else:
        names = [settings.judge_of(trait) for trait in traits]
    return [
        JudgeChoice(settings, name) for name in dict.fromkeys([*names, settings.judge_of_coherence])
    ]


def check_judge(
    settings: ExperimentSettings, traits: Iterable[str] | None = None, folder: Path | None = None
) -> None:
    """Check before any cost that the judges of an experiment can work here.

    Args:
        settings: The experiment's settings.
        traits: The traits to be scored; by default all that the settings name, and any other.
        folder: The experiment's folder. If given, scorers are checked too: a Python file is
            imported, in a child process.

    Raises:
        TraitvecError: If a key, a price or a scorer's file is missing, or a setting does not fit
            the judge.
    """
    judges = used_judges(settings, traits)
    choices = list(judges)
    if settings.second_judge is not None:
        if settings.second_judge == judges[0].name:
            raise TraitvecError(
                f"second_judge is the judge itself ({settings.second_judge!r}): name another"
                " model, or set judge_repeats to measure the judge's own noise"
            )
        choices.append(JudgeChoice(settings, settings.second_judge))
    for choice in choices:
        if is_scorer(choice.name) and folder is not None:
            check_scorer(choice.name, settings, folder)
        _check_access(choice, settings)
    if settings.judge_mode == "batch" and not any(j.provider.takes_batches for j in judges):
        titles = [row.api.title for row in PROVIDERS.values() if row.api and row.takes_batches]
        raise TraitvecError(
            f"judge_mode: batch needs a provider that accepts batches ({' or '.join(titles)}), and"
            f" {judges[0].name!r} does not; set judge_mode: live"
        )


def _check_access(choice: JudgeChoice, settings: ExperimentSettings) -> None:
    if choice.provider.is_in_process:
        if not is_scorer(choice.name):
            check_model(choice.name)
        return
    check_environment(choice)
    key = key_from_environment(choice.key_name)
    if key is None and choice.key_name != _OWN_SERVER_KEY:
        raise TraitvecError(
            f"judge {choice.name!r} needs a key: set {choice.key_name} in the environment or in"
            " .env (no key is needed for `judge_model: embedded`, a Hugging Face id, a scorer, or"
            " your own server at judge_base_url)"
        )
    if settings.max_judge_usd is not None and price_of(choice.name, settings.judge_prices) is None:
        raise TraitvecError(
            f"max_judge_usd needs the price of {choice.name!r}, which is unknown; add"
            f" `judge_prices: {{{choice.name}: {{input: 0.25, output: 2.00}}}}` (dollars per"
            " million tokens; 0 for your own server) to experiment.yaml"
        )


def check_environment(choice: JudgeChoice) -> None:
    """Check the address of a provider that the environment names.

    Raises:
        TraitvecError: If it is not valid.
    """
    # An address in the settings was checked when they were read.
    api = choice.provider.api
    try:
        if api is not None and choice.address:
            check_address(choice.address, choice.key_name)
    except ValueError as error:
        raise TraitvecError(f"{api.address_name if api else ''} {error}") from None


def is_judge_compared(settings: ExperimentSettings, folders: "Iterable[TraitFolder]") -> bool:
    """Whether the judge is compared with another judge, with itself, or with people."""
    return (
        settings.second_judge is not None
        or settings.judge_repeats > 0
        or any(folder.human_scores_path.is_file() for folder in folders)
    )


def load_judge(
    settings: ExperimentSettings,
    store: "JudgementStore",
    *,
    name: str | None = None,
    load_model: "Callable[[str], LanguageModel]",
    experiment: str = "",
    say: Callable[[str], None] = lambda text: None,
    folder: Path | None = None,
    claim_gpu: Callable[[], None] = lambda: None,
) -> "Judge":
    """Return one judge of an experiment.

    Args:
        settings: The experiment's settings.
        store: Keeps judgements, and what models accept.
        name: The judge; by default the experiment's.
        load_model: Loads a model into this process, by name.
        experiment: The experiment whose budget pays.
        say: Called with a line about batches, or about a server that stops answering.
        folder: The experiment's folder, for the files of Python scorers.
        claim_gpu: Called before a classifier takes a GPU.

    Raises:
        TraitvecError: If the judge cannot work here.
    """
    if name is None:
        check_judge(settings)
    choice = JudgeChoice(settings, name)
    if is_scorer(choice.name):
        return load_scorer(choice.name, settings, folder, claim_gpu)
    _check_access(choice, settings)
    if choice.provider.is_in_process:
        from traitvec_core.judging.providers.local import LocalJudge

        return LocalJudge(
            load_model(choice.name), preflight=_preflight(settings, store, experiment)
        )
    return api_judge(choice, settings, store, experiment, say)


def api_judge(
    choice: JudgeChoice,
    settings: ExperimentSettings,
    store: "JudgementStore",
    experiment: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> "ApiJudge":
    """Return a judge behind an API, with or without a key: an estimate needs none."""
    from traitvec_core.judging.api import ApiJudge
    from traitvec_core.judging.batch import Batches
    from traitvec_core.judging.budget import Budget

    api = choice.provider.api
    if api is None:
        raise TraitvecError(f"judge {choice.name!r} runs in this process, not behind an API")
    limit = settings.max_judge_usd
    budget = None if limit is None else Budget(limit, lambda: store.spent_usd(experiment))
    key = key_from_environment(choice.key_name)
    return ApiJudge(
        api.model(choice.name, key, choice.key_name, choice.address),
        store,
        max_concurrent=settings.max_concurrent_judges,
        timeout_s=settings.judge_timeout_s,
        price=price_of(choice.name, settings.judge_prices),
        budget=budget,
        experiment=experiment,
        batches=Batches(say) if settings.judge_mode == "batch" else None,
        say=say,
        preflight=_preflight(settings, store, experiment, budget),
    )


def check_judges_first(
    settings: ExperimentSettings,
    traits: Iterable[str],
    store: "JudgementStore",
    experiment: str,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Run the preflight of judges behind an API before responses are generated.

    A model in this process has its own when it is loaded to judge.

    Args:
        settings: The experiment's settings.
        traits: The traits to be scored.
        store: Gets the judgements.
        experiment: The experiment that pays.
        say: Called with a line while a server does not answer.

    Raises:
        TraitvecError: If a judge cannot be reached, or does not pass.
    """
    for choice in used_judges(settings, traits):
        if choice.provider.api is not None:
            api_judge(choice, settings, store, experiment, say).check_first()


def _preflight(
    settings: ExperimentSettings,
    store: "JudgementStore",
    experiment: str,
    budget: "Budget | None" = None,
) -> "Callable[[Judge], None] | None":
    if not settings.judge_preflight:
        return None

    def check(judge: "Judge") -> None:
        from traitvec_core.judging.judgement_store import Origin
        from traitvec_core.judging.preflight import check_judge_orders

        origin = Origin(experiment, "(preflight)")
        check_judge_orders(judge, store, origin, budget.reason if budget else None)

    return check
