"""TLS: certificates are verified, and a handshake that fails has sent nothing of the request."""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.errors import NotSent, OutcomeUnknown
from providers.connections import Destination
from providers.http import Wire, WireRequest
from providers.network import DeadlineBackend, bounded_call
from tests.providers.loopback import Handler, Loopback, answering, http, serving, tokens

DEADLINE = timedelta(seconds=20)
SHORT = timedelta(seconds=1)
SLACK = 5.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def trusting(certificate: Path) -> Iterator[Wire]:
    wire = Wire(ssl_context=ssl.create_default_context(cafile=str(certificate)))
    yield wire
    wire.close()


def over_tls(certificate: Path, handler: Handler) -> Handler:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def handle(server: Loopback, sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secured:
            server.sockets.append(secured)
            handler(server, secured)

    return handle


def post(url: str) -> WireRequest:
    return WireRequest("POST", Destination.of(url), {}, b"refresh_token=RT-1")


def test_a_trusted_server_is_spoken_to_and_its_connection_reused(trusting: Wire, certificate: Path) -> None:
    with serving(over_tls(certificate, answering(http("200 OK", tokens())))) as server:
        for _ in range(3):
            answer = trusting.exchange(post(server.url(scheme="https")), deadline=DEADLINE)
            assert answer.body == tokens()

    assert server.connections == 1


def test_a_certificate_nobody_vouches_for_was_sent_nothing(certificate: Path) -> None:
    wire = Wire()
    with (
        serving(over_tls(certificate, answering(http("200 OK", tokens())))) as server,
        pytest.raises(NotSent, match="tls_failed"),
    ):
        wire.exchange(post(server.url(scheme="https")), deadline=DEADLINE)
    wire.close()

    assert server.requests == []


def test_a_certificate_for_another_host_was_sent_nothing(trusting: Wire, certificate: Path) -> None:
    with (
        serving(over_tls(certificate, answering(http("200 OK", tokens())))) as server,
        pytest.raises(NotSent, match="tls_failed"),
    ):
        trusting.exchange(post(server.url(scheme="https", host="localhost")), deadline=DEADLINE)

    assert server.requests == []


def test_a_server_that_speaks_no_tls_was_sent_nothing(trusting: Wire) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        sock.recv(10)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(handle) as server, pytest.raises(NotSent, match="tls_failed"):
        trusting.exchange(post(server.url(scheme="https")), deadline=DEADLINE)


def test_a_handshake_that_hangs_or_drips_ends_at_the_deadline_and_has_sent_nothing(trusting: Wire) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        # A record of 16 KiB of handshake is announced, and then dripped.
        for byte in b"\x16\x03\x03\x40\x00" + b"\x00" * 5000:
            if server.released.wait(0.05):
                return
            sock.sendall(bytes([byte]))

    with serving(handle) as server:
        began = time.monotonic()
        with pytest.raises(NotSent, match=r"tls_(timed_out|failed)"):
            trusting.exchange(post(server.url(scheme="https")), deadline=SHORT)

    assert time.monotonic() - began < SHORT.total_seconds() + SLACK


def test_a_server_that_drips_over_tls_cannot_outlast_the_deadline(trusting: Wire, certificate: Path) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while not server.released.wait(0.05):
            sock.sendall(b"a")

    with serving(over_tls(certificate, handle)) as server:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed_out"):
            trusting.exchange(post(server.url(scheme="https")), deadline=SHORT)

    assert time.monotonic() - began < SHORT.total_seconds() + SLACK


def test_an_answer_cut_off_under_tls_is_in_doubt(trusting: Wire, certificate: Path) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(http("200 OK", tokens())[:-5])

    with serving(over_tls(certificate, handle)) as server, pytest.raises(OutcomeUnknown, match="answer_cut"):
        trusting.exchange(post(server.url(scheme="https")), deadline=DEADLINE)


def test_the_rest_of_a_record_is_read_without_waiting_for_another(trusting: Wire, certificate: Path) -> None:
    """Once a record is unpacked the socket has nothing to show, and the rest of it is there all the same."""
    context = trusting._connections._ssl_context

    def handle(server: Loopback, sock: socket.socket) -> None:
        sock.recv(10)
        sock.sendall(b"one record")
        server.released.wait(60)

    with serving(over_tls(certificate, handle)) as server, bounded_call(DEADLINE.total_seconds()):
        stream = (
            DeadlineBackend(inside=True).connect_tcp("127.0.0.1", server.port).start_tls(context, "127.0.0.1")
        )
        stream.write(b"hello")

        assert [stream.read(4), stream.read(4), stream.read(4)] == [b"one ", b"reco", b"rd"]
        stream.close()


def test_a_large_request_and_a_large_answer_pass_over_tls(trusting: Wire, certificate: Path) -> None:
    """Larger than what sockets hold: both ends have to wait for the other."""
    sent = b"a" * 5_000_000

    def handle(server: Loopback, sock: socket.socket) -> None:
        request = server.read_request(sock) or b""
        sock.sendall(http("200 OK", request.partition(b"\r\n\r\n")[2][:900_000]))

    with serving(over_tls(certificate, handle)) as server:
        request = WireRequest("POST", Destination.of(server.url(scheme="https")), {}, sent)
        answer = trusting.exchange(request, deadline=DEADLINE)

    assert answer.body == sent[:900_000]
