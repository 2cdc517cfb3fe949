"""Ports of this machine, for servers of tests."""

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
