"""Imported by every Python process that has this folder on its path: sockets reach loopback only."""

import sys

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def refuse_the_network(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise OSError(f"this test has no network, and {address[0]} was asked for")
    if event == "socket.getaddrinfo" and arguments[0] not in (*LOOPBACK, None, ""):
        raise OSError(f"this test has no network, and {arguments[0]} was looked up")


sys.addaudithook(refuse_the_network)
