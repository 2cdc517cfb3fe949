"""Keys that would cross a network in the clear."""

import ipaddress
import os
from urllib.parse import urlsplit

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.engine_options import KEY_NAME
from traitvec_core.judging.load import JudgeChoice, used_judges

__all__ = ["exposed_keys"]


def exposed_keys(settings: ExperimentSettings) -> list[str]:
    """Return a line for each key that is sent unencrypted to a host of a public network."""
    judges = used_judges(settings)
    if settings.second_judge is not None:
        judges.append(JudgeChoice(settings, settings.second_judge))
    sent = {(judge.key_name, judge.address) for judge in judges if judge.address}
    if settings.engine_url is not None:
        sent.add((KEY_NAME, settings.engine_url))
    return [
        f"{key_name} is sent to {address} without encryption, for anyone on the way to read; use"
        " https"
        for key_name, address in sorted(sent)
        if os.environ.get(key_name, "").strip() and _is_exposed(address)
    ]


def _is_exposed(address: str) -> bool:
    """Whether requests to an address cross a public network unencrypted, as far as it says."""
    parts = urlsplit(address)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        # Names without a dot are of this machine, a cluster or a container network.
        return "." in host and not host.endswith((".local", ".internal", ".localhost", ".lan"))
