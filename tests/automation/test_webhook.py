"""What a webhook may do to the sensor that posts to it: nothing, and not for long."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from traitvec_dagster.automation.webhook import post

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that answers its first request by `answer`, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                with suppress(OSError):
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"


def _drip(head: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nx-slow: "], ids=["status", "header"]
)  # fmt: skip
def test_a_webhook_that_drips_bytes_is_left_at_the_deadline(head: bytes) -> None:
    # It never ends by itself, so a post that returns at all was ended by the deadline.
    with answering(_drip(head)) as address:
        assert post(address, {}, deadline_s=0.5) == "it did not answer within 0.5 s"


def test_a_webhook_that_never_answers_is_left_at_the_deadline() -> None:
    with answering(lambda connection: threading.Event().wait()) as address:
        assert post(address, {}, deadline_s=0.5) == "it did not answer within 0.5 s"


def test_the_body_is_not_read() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    sent = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(10_000):
            connection.sendall(b"%x\r\n%b\r\n" % (len(bomb), bomb))
        sent.set()

    with answering(answer) as address:
        assert post(address, {}) == ""
    assert not sent.is_set()


def test_a_redirect_leads_nowhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.settimeout(0.2)
        target = f"http://127.0.0.1:{inside.getsockname()[1]}/".encode()
        head = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n"
        with answering(lambda connection: connection.sendall(head % target)) as address:
            assert post(address, {}) == "it answered with 307"
        with pytest.raises(TimeoutError):
            inside.accept()
