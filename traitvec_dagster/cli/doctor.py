"""Checks this machine: what works, what is missing, what it would allow and how to get it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from traitvec_core.errors import TraitvecError
from traitvec_dagster.project import Project

__all__ = ["Finding", "examine"]

_LOW_DISK_GB = 20
_TIMEOUT_S = 5.0
# The package for CPUs has another name.
_VERSIONS = """
from importlib.metadata import packages_distributions, version
print(version(packages_distributions()["vllm"][0]), version("interp-engine"))
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: `ok`; `absent`, which limits what traitvec can do; or `broken`.
        what: What was checked.
        result: What it is, or what is wrong.
        advice: What it would allow and how to get it; empty when it is ok.
    """

    state: Literal["ok", "absent", "broken"]
    what: str
    result: str
    advice: str = ""


def examine(project: Project) -> Iterator[Finding]:
    """Check the machine and the project; yields each result as it is known, without any key."""
    yield _python()
    # Asked while torch loads: a network that does not answer takes seconds.
    with ThreadPoolExecutor() as pool:
        judges, hub = pool.submit(lambda: list(_judges(project))), pool.submit(_hub)
        yield from _torch()
        yield _embedded_model()
    yield _vllm()
    yield _key("HF_TOKEN", "gated models such as Gemma and Llama",
               "create a read token on Hugging Face and accept the model's licence")  # fmt: skip
    yield from judges.result()
    yield hub.result()
    yield _hub_cache()
    yield _folder("experiments", project.experiments)
    yield from _storage()
    yield _instance(project)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("ok", "Python", version)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("broken", "torch", str(error), "run `make install`, or `pip install torch`")
        return
    yield Finding("ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} CPU threads")
    if not torch.cuda.is_available():
        # Older versions of torch cannot tell.
        capabilities = getattr(torch.cpu, "get_capabilities", None)
        if capabilities is not None:
            yield _bfloat16(capabilities())
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            yield Finding(
                "ok", f"GPU {index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB"
            )
    else:
        yield Finding(
            "absent", "GPU", "none that torch can use",
            "models of billions of parameters need one; the embedded model does not."
            " With an NVIDIA card, install its driver and a CUDA build of torch",
        )  # fmt: skip


def _bfloat16(capabilities: Mapping[str, object]) -> Finding:
    """Report whether the processor multiplies in bfloat16."""
    units = [name for name, has in capabilities.items() if name.endswith("bf16") and has]
    if units:
        return Finding(
            "ok", "bfloat16", f"this processor has it ({', '.join(units)}): `dtype: bfloat16`"
            " halves a model's memory, and reads prompts nearly twice as fast as float32 from 100M"
            " parameters on",
        )  # fmt: skip
    return Finding(
        "ok", "bfloat16", "this processor emulates it, so float32 (`dtype: auto`) is faster"
    )


def _embedded_model() -> Finding:
    from traitvec_core.models.language_model import load_language_model

    try:
        model = load_language_model("embedded", device="cpu")
    except TraitvecError as error:
        return Finding("broken", "embedded model", str(error), "reinstall traitvec")
    return Finding(
        "ok", "embedded model", f"{model.n_blocks} blocks × {model.hidden_dim} dimensions"
    )


def _vllm() -> Finding:
    """Report which vLLM `engine: vllm` would run; it is not imported, which takes half a minute."""
    from traitvec_core.generation.engine_process import vllm_python

    absent = (
        "large models would generate, be read and steered with it; see docs/models.md for its"
        " environment, and set TRAITVEC_VLLM_PYTHON"
    )
    try:
        python = vllm_python()
        answer = subprocess.run(  # noqa: S603  # the owner's own Python
            [python, "-c", _VERSIONS], capture_output=True, text=True, timeout=20, check=False
        )
    except TraitvecError as error:
        return Finding("broken", "vLLM", "no Python to run it", str(error))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("broken", "vLLM", f"{python} does not run", str(error))
    versions = answer.stdout.split()
    if answer.returncode or len(versions) != 2:
        return Finding("absent", "vLLM", f"not in {python}", absent)
    vllm, interp = versions
    return Finding("ok", "vLLM", f"{vllm}, interp-engine {interp}, in {python}")


def _key(name: str, allows: str, how: str) -> Finding:
    if os.environ.get(name, "").strip():
        return Finding("ok", name, "set")
    return Finding(
        "absent", name, "not set", f"would allow {allows}: {how}, then put {name}=… into .env"
    )


def _judges(project: Project) -> Iterator[Finding]:
    """Check that providers accept the keys and will keep the judges; costs nothing."""
    from traitvec_core.judging.providers.table import PROVIDERS
    from traitvec_core.judging.retirement import shutdown_dates
    from traitvec_core.remote.keys import key_from_environment

    announced: dict[str, date] = {}
    for api in (row.api for row in PROVIDERS.values() if row.api is not None):
        allows = f"judging with {api.title}'s models"
        try:
            key = key_from_environment(api.key_name)
        except TraitvecError as error:
            yield Finding("broken", api.key_name, "not a valid key", str(error))
            continue
        if key is None:
            yield _key(api.key_name, allows, f"create one with {api.title}")
            continue
        address = os.environ.get(api.address_name, "").strip() or api.model.default_address
        page = api.normalized(address) + api.models_path
        finding, models = _key_state(api.key_name, api.title, allows, page, api.key_headers(key))
        announced |= shutdown_dates(models)
        yield finding
    yield from _retiring(project, announced)


def _retiring(project: Project, announced: Mapping[str, date]) -> Iterator[Finding]:
    """Name the judges of the project's experiments that their provider shuts down."""
    from traitvec_core.judging.retirement import judge_notes
    from traitvec_core.storage.files import list_experiments
    from traitvec_core.storage.folders import ExperimentFolder

    for name in list_experiments(project.experiments):
        try:
            notes = list(
                judge_notes(ExperimentFolder(project.experiments, name).settings(), announced)
            )
        except TraitvecError:
            # `traitvec check` says what is wrong with it.
            continue
        for note in notes:
            yield Finding("absent", f"judge of {name}", note.text, note.advice)


def _key_state(
    variable: str, provider: str, allows: str, page: str, headers: dict[str, str]
) -> tuple[Finding, Any]:
    """Return whether a provider accepts a key, and its list of models if it does."""
    from traitvec_core.remote.pages import PageError, read_page

    try:
        answer = read_page(page, headers, _TIMEOUT_S)
    except PageError as error:
        finding = Finding(
            "absent", variable, f"set; {provider} cannot be reached ({error})",
            f"{allows} needs the network",
        )  # fmt: skip
        return finding, None
    if answer.status in {401, 403}:
        finding = Finding(
            "broken", variable, f"{provider} rejects it ({answer.status})",
            f"create a new key with {provider} and put it into .env",
        )  # fmt: skip
        return finding, None
    if answer.status != 200:
        result = f"set; not checked, {provider} answers {answer.status}"
        return Finding("ok", variable, result), None
    return Finding("ok", variable, f"set, and {provider} accepts it"), answer.data


def _hub() -> Finding:
    """Check that Hugging Face can be reached and accepts the token."""
    from huggingface_hub.constants import ENDPOINT

    from traitvec_core.remote.pages import PageError, read_page

    token = os.environ.get("HF_TOKEN", "").strip()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    page = f"{ENDPOINT}/api/whoami-v2" if token else ENDPOINT
    try:
        answer = read_page(page, headers, _TIMEOUT_S)
    except PageError as error:
        return Finding(
            "absent", "Hugging Face", f"cannot be reached ({error})",
            "models in the cache or in a folder still load; others need the network",
        )  # fmt: skip
    if token and answer.status in {401, 403}:
        return Finding(
            "broken",
            "Hugging Face",
            "rejects HF_TOKEN",
            "create a new read token and put it into .env",
        )
    return Finding("ok", "Hugging Face", "answers" + (" and accepts the token" if token else ""))


def _hub_cache() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE)
    existing = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < _LOW_DISK_GB:
        return Finding(
            "absent", "disk", f"{free:.0f} GB free for models in {place}",
            "a 9B model takes 18 GB; free some space, or set HF_HOME to a larger disk",
        )  # fmt: skip
    return Finding("ok", "disk", f"{free:.0f} GB free for models in {place}")


def _folder(what: str, path: Path) -> Finding:
    if not path.is_dir():
        return Finding(
            "absent", what, f"no folder {path}",
            "`traitvec new-experiment NAME` creates one here; TRAITVEC_EXPERIMENTS names another",
        )  # fmt: skip
    if not os.access(path, os.W_OK):
        return Finding("broken", what, f"{path} is not writable", "change its owner or its mode")
    return Finding("ok", what, str(path))


def _storage() -> Iterator[Finding]:
    """Check that the object storage of the experiments answers, if there is one."""
    from traitvec_core.storage.bucket import STORAGE_VARIABLE, ObjectStorage

    address = os.environ.get(STORAGE_VARIABLE, "").strip()
    if not address:
        return
    try:
        storage = ObjectStorage(address)
        objects = len(storage.listing(patience_s=0))
    except TraitvecError as error:
        yield Finding("broken", "storage", str(error), "see docs/scaling_out.md, Several machines")
        return
    yield Finding("ok", "storage", f"{objects} objects in {storage.address}")


def _instance(project: Project) -> Finding:
    try:
        runs = project.instance().get_runs_count()
    except Exception as error:  # noqa: BLE001  # any error of the storage is the result
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(
            "broken", "Dagster", f"{project.dagster_home}: {line}",
            "check dagster.yaml there, or move the folder away to start a new history",
        )  # fmt: skip
    return Finding("ok", "Dagster", f"{runs} runs in {project.dagster_home}")
