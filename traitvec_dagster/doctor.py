"""What this machine has, what each missing thing would allow, and how to get it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_dagster.project import Project

__all__ = ["Finding", "examine"]

_LOW_DISK_GB = 20
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `ok`; `absent`, which limits what can be done; or `broken`.
        what: What was looked at.
        found: What was found.
        mend: What it would allow and how to get it; empty when it is there.
    """

    state: Literal["ok", "absent", "broken"]
    what: str
    found: str
    mend: str = ""


def examine(project: Project) -> Iterator[Finding]:
    """Look at the machine and the project, one finding at a time. No key is ever shown."""
    yield _python()
    yield from _torch()
    yield _embedded_model()
    yield _key("HF_TOKEN", "gated models such as Gemma and Llama",
               "create a read token on Hugging Face and accept the model's licence")  # fmt: skip
    for name, provider in (("OPENAI_API_KEY", "OpenAI"), ("ANTHROPIC_API_KEY", "Anthropic")):
        yield _key(name, f"judging with {provider}'s models (not in this version yet)",
                   f"create one with {provider}")  # fmt: skip
    yield _hub()
    yield _hub_cache()
    yield _folder("experiments", project.experiments)
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


def _embedded_model() -> Finding:
    from traitvec_core.language_model import load_language_model

    try:
        model = load_language_model("embedded", device="cpu")
    except TraitvecError as error:
        return Finding("broken", "embedded model", str(error), "install traitvec again")
    return Finding(
        "ok", "embedded model", f"{model.n_blocks} blocks × {model.hidden_dim} dimensions"
    )


def _key(name: str, allows: str, how: str) -> Finding:
    if os.environ.get(name, "").strip():
        return Finding("ok", name, "set")
    return Finding(
        "absent", name, "not set", f"would allow {allows}: {how}, then put {name}=… into .env"
    )


def _hub() -> Finding:
    """Whether Hugging Face answers, and whether it knows the token."""
    import httpx
    from huggingface_hub.constants import ENDPOINT

    token = os.environ.get("HF_TOKEN", "").strip()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    page = f"{ENDPOINT}/api/whoami-v2" if token else ENDPOINT
    try:
        answer = httpx.get(page, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True)
    except (httpx.HTTPError, ValueError) as error:
        return Finding(
            "absent", "Hugging Face", f"cannot be reached ({type(error).__name__})",
            "models that are in the cache or in a folder still load; others need the network",
        )  # fmt: skip
    if token and answer.status_code in {401, 403}:
        return Finding(
            "broken",
            "Hugging Face",
            "refuses HF_TOKEN",
            "make a new read token and put it into .env",
        )
    return Finding("ok", "Hugging Face", "answers" + (" and knows the token" if token else ""))


def _hub_cache() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE)
    existing = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < _LOW_DISK_GB:
        return Finding(
            "absent", "disk", f"{free:.0f} GB free for models in {place}",
            "a 9B model takes 18 GB; free some, or set HF_HOME to a larger disk",
        )  # fmt: skip
    return Finding("ok", "disk", f"{free:.0f} GB free for models in {place}")


def _folder(what: str, path: Path) -> Finding:
    if not path.is_dir():
        return Finding(
            "absent", what, f"no folder {path}",
            "`traitvec new-experiment NAME` makes one here; TRAITVEC_EXPERIMENTS names another",
        )  # fmt: skip
    if not os.access(path, os.W_OK):
        return Finding("broken", what, f"{path} cannot be written", "change its owner or its mode")
    return Finding("ok", what, str(path))


def _instance(project: Project) -> Finding:
    try:
        runs = project.instance().get_runs_count()
    except Exception as error:  # noqa: BLE001  # whatever a storage raises is the finding
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(
            "broken", "Dagster", f"{project.dagster_home}: {line}",
            "see dagster.yaml there; moving the folder away starts a new history",
        )  # fmt: skip
    return Finding("ok", "Dagster", f"{runs} runs in {project.dagster_home}")
