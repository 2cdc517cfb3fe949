"""The judge's server disappears during a run, for a moment or longer than calls are retried."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.graph.conftest import Serve, generated, generated_folder, serve  # noqa: F401
from tests.projects import SmallProject
from tests.providers.models import by_model
from tests.providers.replies import Call, Reply
from traitvec_core.remote import calls

pytestmark = pytest.mark.slow

# Two judgements of each of 16 responses.
_N = 32


class Door:
    """A proxy in front of a server; shutting it drops all connections."""

    def __init__(self, port: int) -> None:
        self._server = port
        self.port = 0
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._sockets = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets += [caller, server]
                for pair in ((caller, server), (server, caller)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


class Judge:
    """A judge whose door falls shut after some answers."""

    def __init__(self, serve: Serve, after: int) -> None:  # noqa: F811
        self._after = after
        self.is_over = False
        self.server = serve(self._answer)
        self.door = Door(self.server.port)
        self.on_shut = lambda: None
        os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{self.door.port}/v1"

    def _answer(self, call: Call) -> Reply:
        if self.server.log.total >= self._after and not self.is_over:
            self.is_over = True
            self.door.shut()
            self.on_shut()
        return by_model(call)


@pytest.fixture
def judge(serve: Serve) -> Iterator[Judge]:  # noqa: F811
    found = Judge(serve, after=8)
    yield found
    found.door.shut()


def test_a_moment_without_the_judge_is_waited_out(
    generated: SmallProject,  # noqa: F811
    judge: Judge,
) -> None:
    judge.on_shut = lambda: threading.Timer(2.0, judge.door.open).start()
    generated.set(max_concurrent_judges=4)
    done = generated.run("refusal", "judged_responses")
    assert judge.is_over
    assert done.is_success, done.problems
    assert generated.states("refusal")["judged_responses"] == "fresh"
    judged = generated.trait("refusal").read_responses()
    assert judged[["trait_score", "coherence_score"]].notna().all(axis=None)
    # Only what was on its way when the door fell shut is asked again.
    assert judge.server.log.total <= _N + 4


def test_without_the_judge_what_was_judged_is_kept_and_the_rest_is_asked_later(
    generated: SmallProject,  # noqa: F811
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.002)
    generated.set(max_concurrent_judges=4)
    done = generated.run("refusal", "judged_responses")
    (problem,) = done.problems
    assert f"http://127.0.0.1:{judge.door.port}/v1 is gone" in problem
    assert "Finished work is kept" in problem
    # What names the judge's server here, not a setting of generation.
    assert "OPENAI_BASE_URL" in problem
    assert generated.states("refusal")["judged_responses"] == "missing"
    judge.door.open()
    before = judge.server.log.total
    again = generated.run("refusal")
    assert again.is_good, again.problems
    assert judge.server.log.total - before <= _N - 8 + 4
    assert set(generated.states("refusal").values()) == {"fresh"}
