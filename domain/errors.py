"""Errors, named by what the caller does next.

    EvergrantError
      ConfigurationError      mend the setting, file or argument it names, then start again
      ServiceUnavailable      a server of ours does not answer; try again when it does
      SealBroken              the sealed bytes cannot be opened with this key ring
      ProviderError
        NotSent               retry: the refresh token never left this process
        Transient             retry later: the provider answered that it did not process the request
          RateLimited           … and when to come back
          Unavailable           … because it is having trouble
        OutcomeUnknown        in doubt: the request may have been processed, and no answer is known
          Malformed             … because the answer could not be understood
        Refused               retry with backoff: no rule recognises this refusal; never death at first sight
        GrantRejected         only a person can help: the provider does not honour this grant
        ClientMisconfigured   stop calling: our client id, secret, endpoint or request is wrong
        InsufficientScope     the token lives, but may not do what was asked of it

Messages hold ids, codes and setting names, never a token, secret, key or code.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

#: The code of a call that was not made, because its host's addresses lead inside.
ADDRESS_INSIDE: Final = "address_inside"


class EvergrantError(Exception):
    """The root of everything Evergrant raises on purpose."""


class ConfigurationError(EvergrantError):
    """A setting, file or argument is wrong; the message names it, says why, and how to mend it."""


class ServiceUnavailable(EvergrantError):
    """Postgres or Redis does not answer, or refuses us."""


class SealBroken(EvergrantError):
    """Sealed bytes cannot be opened: wrong key, wrong row or column, or damaged."""


class KeyMissing(SealBroken):
    """The key that sealed these bytes is not in the key ring."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"sealed with key {key_id!r}, which EVERGRANT_KEYS does not hold; add it back")
        self.key_id = key_id


class ProviderError(EvergrantError):
    """What a call to a provider came to, when it did not come to a token.

    Attributes:
        code: A stable lower-case word for people and metrics, such as ``invalid_grant``; never free text
            of the provider's.
        http_status: The answer's status, or None when there was no answer.
        retry_after: How long the provider asked us to stay away, or None when it did not say.
    """

    def __init__(
        self, code: str, *, http_status: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(code if http_status is None else f"{code} (HTTP {http_status})")
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after


class NotSent(ProviderError):
    """The request never left: connecting failed, or no connection could be had in time."""


class Transient(ProviderError):
    """The provider answered that it did not process the request; the same request may be sent again later."""


class RateLimited(Transient):
    """Too many requests (RFC 6585 §4); `retry_after` says when to come back, where the provider says it."""


class Unavailable(Transient):
    """The provider is having trouble and says that it did nothing (503 and its kin)."""


class OutcomeUnknown(ProviderError):
    """The request may have been processed and no answer is known: neither success nor failure."""


class Malformed(OutcomeUnknown):
    """An answer arrived that breaks the protocol, so what it says about the grant is unknown."""


class Refused(ProviderError):
    """A refusal that no rule for this provider recognises; tried again with backoff, never death at once."""


class GrantRejected(ProviderError):
    """The provider does not honour this grant (RFC 6749 §5.2 `invalid_grant` and its dialects)."""


class ClientMisconfigured(ProviderError):
    """The provider rejects us, not the user's grant: client id, secret, endpoint or request form is wrong."""


class InsufficientScope(ProviderError):
    """The token is alive, but lacks the scope for the request (RFC 6750 §3.1)."""
