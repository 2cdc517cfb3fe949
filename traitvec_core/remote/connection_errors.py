"""Says in a few words why there was no answer: no connection, a lost one, or one not read."""

import os
import re
from collections.abc import Iterator

from traitvec_core.remote.calls import CallError
from traitvec_core.remote.http_client import CONNECT_S, BadAnswerError

__all__ = ["connection_error"]

# By the names of the HTTP libraries' exceptions, the most exact first. Those of aiohttp are looked
# for along the chain of causes: httpx's adapter turns most of them into a "connect timeout".
_UNREACHABLE = {
    "ClientConnectorDNSError": "unknown host",
    "ClientConnectorCertificateError": "its certificate is not valid",
    "ClientConnectorSSLError": "no TLS at this address",
    "ClientConnectorError": "",
    "ConnectionTimeoutError": f"no connection within {CONNECT_S:g} s",
}
_LOST = {"ServerDisconnectedError", "ClientOSError", "ClientPayloadError",
         "ClientConnectionResetError"}  # fmt: skip
_IN_NO_TIME = {"SocketTimeoutError", "ServerTimeoutError"}
# Where the SDK uses another transport.
_HTTPX_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ProxyError"}
_HTTPX_LOST = {"ReadError", "WriteError", "CloseError", "RemoteProtocolError"}


def connection_error(error: Exception) -> CallError | None:
    """Return what an exception without a status means; None if it is not about the connection."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, BadAnswerError):
            return CallError("refused", str(cause))
    kinds = [kind for cause in chain for kind in _kinds(cause)]
    for name, reason in _UNREACHABLE.items():
        if name in kinds:
            return CallError("unreachable", reason or _system_reason(chain))
    if _LOST & set(kinds):
        return CallError("lost", "connection closed before the answer was complete")
    if _IN_NO_TIME & set(kinds):
        return CallError("slow", "no answer in time")
    if _HTTPX_UNREACHABLE & set(kinds):
        return CallError("unreachable", "no connection")
    if _HTTPX_LOST & set(kinds):
        return CallError("lost", "connection closed before the answer was complete")
    if any("Timeout" in kind for kind in kinds):
        return CallError("slow", "no answer in time")
    if any(kind == "APIConnectionError" for kind in kinds):
        return CallError("unreachable", type(chain[-1]).__name__)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kinds(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _system_reason(chain: list[BaseException]) -> str:
    """Return the operating system's words, such as "connection refused"."""
    for error in chain:
        number = error.errno if isinstance(error, OSError) else None
        # Where all addresses of a host failed, the number is only in the text.
        match = re.search(r"\[Errno (\d+)\]", str(error))
        if number or match:
            return os.strerror(number or int(match[1] if match else 0)).lower()
    return "no connection"
