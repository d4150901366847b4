"""Whether a server of ours can listen where it is told to, said in words before it starts."""

from __future__ import annotations

import socket

from domain.errors import ConfigurationError
from workers.supervision.errors import PortInUse
from workers.supervision.ports import LOOPBACK, is_free


def check_listening(address: str, port: int, *, what: str) -> None:
    """Say now, and in words, what the server would say with a traceback.

    Raises:
        PortInUse: Somebody else listens there on 127.0.0.1.
        ConfigurationError: The address is not this machine's, or the port is taken there.
    """
    if address == LOOPBACK:
        if not is_free(port):
            raise PortInUse(port, what)
        return
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot listen on --address {address} --port {port}: {error.strerror or error}; choose "
            "an address of this machine (0.0.0.0: all of them) and a free port"
        ) from None
