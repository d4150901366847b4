"""Which transport a URL gets, and that the URL keeps its meaning."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from celery import Celery
from kombu.transport import redis as stock
from pydantic import SecretStr

from services.settings import Settings
from services.wiring import Servers
from tests.broker.world import OURS, STOCK, Broker, Consumer
from workers.broker.transport import Connection, Transport
from workers.celery_app import make_app


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("redis://127.0.0.1", Transport),
        ("rediss://127.0.0.1?ssl_cert_reqs=required", Transport),
        ("sentinel://127.0.0.1:26379", stock.SentinelTransport),
    ],
)
def test_only_redis_urls_get_ours(url: str, transport: type) -> None:
    """Others keep the transport that kombu has for them."""
    connection: Any = Connection(url)

    assert connection.get_transport_cls() is transport
    assert connection.clone().get_transport_cls() is transport


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_the_url_keeps_its_meaning(scheme: str) -> None:
    """User, password, port, database and TLS are as with stock kombu; what is shown holds no password."""
    url = f"{scheme}://user:pass%2Fword@example.test:6380/3?ssl_cert_reqs=required"
    ours: Any = Connection(url)
    theirs = STOCK(url)

    assert ours.info() == theirs.info()
    assert (ours.password, ours.port, ours.virtual_host) == ("pass/word", 6380, "3")
    assert ours.ssl == theirs.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert ours.as_uri() == theirs.as_uri() == f"{scheme}://user:**@example.test:6380/3"


def test_every_connection_of_our_app_is_ours() -> None:
    """Workers, beat, Flower and senders make theirs by the app: to read, to write, and pooled."""
    app: Celery = make_app(
        Settings(), Servers(SecretStr("postgresql://x"), SecretStr("redis://127.0.0.1:1/5"), SecretStr("k"))
    )

    for connection in (app.connection_for_read(), app.connection_for_write(), app.pool.connection):
        assert connection.get_transport_cls() is Transport


@pytest.mark.servers
def test_keys_may_have_a_prefix(redis_url: str) -> None:
    """As kombu has them with `global_keyprefix`; both find what the other has left."""
    broker = Broker(redis_url, global_keyprefix="team:")
    numbers = broker.publish("a", 3)
    ours = Consumer(broker, OURS, ["a"])
    ours.turn()

    assert ours.numbers == numbers
    assert all(key.startswith("team:") for key in broker.redis.scan_iter())
    ours.got[0].ack()
    ours.channel.close()
    assert Consumer(broker, STOCK, ["a"]).drain(2) == numbers[1:]
    broker.close()
