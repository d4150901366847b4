"""What providers push to us: verified, taken once, and turned into what it means for connections."""

from services.events.digests import EventDigests
from services.events.receiving import (
    EventReceiver,
    KeysAway,
    NoReceiver,
    Received,
    Refused,
)

__all__ = ["EventDigests", "EventReceiver", "KeysAway", "NoReceiver", "Received", "Refused"]
