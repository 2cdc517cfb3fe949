"""What an experiment's settings would make this machine do that needs the owner's word.

Two kinds: running code that the experiment names, and sending prompts and a key to a server that it
names. Model names, provider's models and thresholds do neither.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.python_source import source_hash
from traitvec_core.settings.scorer import PythonFunction, parse_scorer
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["TRUSTED_SETTINGS", "Grant", "grants_of"]

_LONGEST_SHOWN = 70


@dataclass(frozen=True)
class Grant:
    """One thing that needs the owner's word.

    Attributes:
        setting: The setting that asks for it; `scorers.refusal` for one of a group.
        allows: What it would do, as a phrase: "sends … to …".
        fingerprint: `sha256:` and a hash of all that the owner agrees to: the experiment's name,
            the setting's value, and the code where it is a local file.
    """

    setting: str
    allows: str
    fingerprint: str


def grants_of(folder: ExperimentFolder, settings: ExperimentSettings) -> list[Grant]:
    """Return what an experiment's settings need the owner's word for; usually nothing.

    Reads files and runs nothing.

    Args:
        folder: The experiment.
        settings: Its settings.
    """
    return [
        Grant(setting, allows, _fingerprint(folder.name, setting, covered))
        for name, grants in _RULES.items()
        for setting, allows, covered in grants(name, folder, settings)
    ]


# A setting, what it allows, and all that the owner agrees to.
_Draft = tuple[str, str, dict[str, Any]]


def _fingerprint(experiment: str, setting: str, covered: dict[str, Any]) -> str:
    text = json.dumps([experiment, setting, covered], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _remote_code(
    name: str, folder: ExperimentFolder, settings: ExperimentSettings
) -> Iterator[_Draft]:
    if not settings.trust_remote_code:
        return
    model, revision = settings.model, settings.revision
    place = Path(model)
    code = _code_in(place) if place.is_dir() else None
    which = "" if code else f" (revision {_shown(revision)})" if revision else " (its newest)"
    yield (
        name,
        f"runs Python that comes with the model {_shown(model)}{which}",
        {"model": model, "revision": revision, "code": code},
    )


def _objective(
    name: str, folder: ExperimentFolder, settings: ExperimentSettings
) -> Iterator[_Draft]:
    path = settings.gradient_objective
    if path is None:
        return
    file = _module_file(path.partition(":")[0])
    where = f" ({display_path(file)})" if file else ""
    code = None
    if file and "site-packages" not in file.parts:
        depth = path.partition(":")[0].count(".") + (file.name == "__init__.py")
        packages = file.parents[:depth]
        inits = [package / "__init__.py" for package in packages]
        code = source_hash(file, inits, file.parents[depth])
    yield name, f"runs Python: {_shown(path)}{where}", {"path": path, "code": code}


def _scorers(name: str, folder: ExperimentFolder, settings: ExperimentSettings) -> Iterator[_Draft]:
    value = getattr(settings, name)
    named = (
        {f"{name}.{key}": scorer for key, scorer in value.items()}
        if isinstance(value, dict)
        else {name: value}
    )
    for setting, scorer in named.items():
        function = parse_scorer(scorer) if scorer else None
        if isinstance(function, PythonFunction):
            yield (
                setting,
                f"runs Python: {_shown(function.function)} of its file {_shown(function.path)}",
                {"scorer": scorer, "code": _code_of(folder.path / function.path)},
            )


def _code_of(scorer: Path) -> str:
    """Return a hash of a scorer's code, and of all that could be imported in place of a package."""
    # The scorer's folder is searched first, so `decimal.py` there is what `statistics` imports.
    beside = scorer.resolve().parent
    return source_hash(scorer, [*beside.glob("*.py"), *beside.glob("*/__init__.py")])


def _judge_address(
    name: str, folder: ExperimentFolder, settings: ExperimentSettings
) -> Iterator[_Draft]:
    if settings.judge_base_url is not None:
        yield _server(name, "prompts, responses and JUDGE_API_KEY", settings.judge_base_url)


def _engine_address(
    name: str, folder: ExperimentFolder, settings: ExperimentSettings
) -> Iterator[_Draft]:
    if settings.engine_url is not None:
        yield _server(name, "prompts and GENERATION_API_KEY", settings.engine_url)


def _server(setting: str, sent: str, address: str) -> _Draft:
    # Never shortened: the end of a host's name says whose it is.
    return setting, f"sends {sent} to {address}", {"address": address}


_RULES: dict[
    str, Callable[[str, ExperimentFolder, ExperimentSettings], Iterator[_Draft]]
] = {
    "trust_remote_code": _remote_code,
    "gradient_objective": _objective,
    "judge_model": _scorers,
    "scorers": _scorers,
    "coherence_judge": _scorers,
    "second_judge": _scorers,
    "judge_base_url": _judge_address,
    "engine_url": _engine_address,
}  # fmt: skip
TRUSTED_SETTINGS = frozenset(_RULES)
"""Settings that can run code or send a key."""


def _code_in(folder: Path) -> str:
    """Return a hash of all Python files of a model's folder, and of what names them."""
    # Only files directly in the folder can be named as code.
    files = sorted([*folder.glob("*.py"), *(folder / name for name in _NAMES_CODE)])
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            data = file.read_bytes()
            digest.update(f"{file.name}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()


# `auto_map` in these names the classes to run, which can be on the hub.
_NAMES_CODE = frozenset({
    "adapter_config.json", "config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer_config.json",
})  # fmt: skip


def _module_file(module: str) -> Path | None:
    """Return the file of a module without importing it or its packages; None if there is none."""
    package, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    place = Path(spec.origin)
    for part in rest:
        folder = place.parent if place.name == "__init__.py" else place.with_suffix("")
        place = folder / part / "__init__.py"
        if not place.is_file():
            place = folder / f"{part}.py"
    return place if place.is_file() else None


def _shown(value: str | None) -> str:
    """Return a value from a file that may be hostile, for one line of a message."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
