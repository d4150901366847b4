"""The token store as its callers see it."""

from __future__ import annotations

from storage.tokens.checks import Checks
from storage.tokens.claims import Claims
from storage.tokens.due import Due
from storage.tokens.failing import Failures
from storage.tokens.landing import Landings
from storage.tokens.releasing import Releases
from storage.tokens.spares import Spares


class TokenStore(Claims, Releases, Landings, Failures, Spares, Due, Checks):
    """Every read and write of tokens; each method is one short transaction, on the hot path one statement.

    Made from an engine and a sealer; safe to share between threads. Every method raises `ServiceUnavailable`
    when Postgres does not answer; whether a write happened is then unknown, and every write may be repeated.
    """
