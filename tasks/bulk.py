"""The bulk queues: how the scheduler's tokens become one message each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from celery import Celery
from kombu.exceptions import BatchPublishError, ChannelError, OperationalError
from kombu.messaging import Producer

from services.scheduling import Work
from storage.tokens.due import DueToken
from tasks.messages import BulkMessages
from tasks.names import CHECK_TOKEN, HEALTH, REFRESH, REFRESH_TOKEN

_ROUTES: Final = {Work.REFRESH: (REFRESH_TOKEN, REFRESH), Work.HEALTH: (CHECK_TOKEN, HEALTH)}
#: Transport operations that one pipeline carries, one a message.
_PIPELINE: Final = 1000


class BulkQueue:
    """One bulk queue of the app's broker; implements `services.scheduling.Outbound`."""

    def __init__(self, app: Celery, work: Work) -> None:
        self._app = app
        self._task, self._queue = _ROUTES[work]
        # A refresh is admitted before its row is touched; a check has read it by then.
        self._names_tenants = work is Work.REFRESH

    def depth(self) -> int:
        """Return how many messages wait in the queue; 0 where it does not exist yet."""
        with self._app.connection_or_acquire() as connection:
            try:
                declared = connection.default_channel.queue_declare(self._queue, passive=True)
            except ChannelError:
                return 0
            return int(declared.message_count)

    def publish(self, due: Sequence[DueToken]) -> None:
        """Publish one message per token in a few pipelines.

        A message that is taken after the token's mark ran out meets a newer one for the same token; the claim
        makes the second harmless.

        Raises:
            kombu.exceptions.OperationalError: The broker did not take them; how many it took is unknown.
        """
        messages = BulkMessages(self._app, self._task, self._queue)
        with self._app.producer_or_acquire() as producer, _as_operational(producer):
            messages.declare(producer)
            with producer.batch(_PIPELINE):
                for token in due:
                    kwargs: dict[str, object] = {
                        "connection_id": str(token.connection_id),
                        "provider_id": token.provider_id,
                        "scheduled": True,
                    }
                    if self._names_tenants and token.tenant is not None:
                        kwargs["tenant"] = token.tenant
                    messages.send(producer, kwargs, shown=f"{{'connection_id': '{token.connection_id}'}}")


@contextmanager
def _as_operational(producer: Producer) -> Iterator[None]:
    """Give the failures of a batch, and of the broker's own client, the name that callers know."""
    connection = producer.connection
    try:
        yield
    except (BatchPublishError, *connection.connection_errors, *connection.channel_errors) as error:
        raise OperationalError(str(error)) from error
