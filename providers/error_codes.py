"""What the standards' error codes mean at each endpoint, where a provider's own rules say nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    InsufficientScope,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from providers.vocabulary import Endpoint, Outcome

#: Stands for "it may have happened": Unavailable where nothing is lost by presenting again, else in doubt.
TROUBLE: Final = None
Kind = type[ProviderError] | None

OUTCOMES: Final[Mapping[Outcome, type[ProviderError]]] = {
    Outcome.GRANT_REJECTED: GrantRejected,
    Outcome.CLIENT_MISCONFIGURED: ClientMisconfigured,
    Outcome.TRANSIENT: Unavailable,
    Outcome.RATE_LIMITED: RateLimited,
    Outcome.REFUSED: Refused,
    Outcome.INSUFFICIENT_SCOPE: InsufficientScope,
    Outcome.OUTCOME_UNKNOWN: OutcomeUnknown,
}
#: RFC 6749 §5.2; the last three are §4.1.2.1's and RFC 8628 §3.5's, which token endpoints send as well.
#: invalid_request and invalid_scope are left to Refused: providers send them for dead tokens as well as for
#: requests that are wrong, and either verdict would be a guess.
_TOKEN_CODES: Final[Mapping[str, Kind]] = {
    "invalid_grant": GrantRejected,
    "invalid_client": ClientMisconfigured,
    "unauthorized_client": ClientMisconfigured,
    "unsupported_grant_type": ClientMisconfigured,
    "temporarily_unavailable": Unavailable,
    "server_error": TROUBLE,
    "slow_down": RateLimited,
}
#: RFC 6750 §3.1, and what a check that names our client id may be told about it.
_CHECK_CODES: Final[Mapping[str, Kind]] = {
    "invalid_token": GrantRejected,
    "insufficient_scope": InsufficientScope,
    "invalid_client": ClientMisconfigured,
    "unauthorized_client": ClientMisconfigured,
    "temporarily_unavailable": Unavailable,
    "server_error": Unavailable,
}
#: RFC 7009 §2.2.1, RFC 6749 §5.2, and what providers say of a token that is dead already (§2.2 wants 200).
#: Repeating a revocation costs nothing, so trouble of any kind is a reason to come back.
_REVOKE_CODES: Final[Mapping[str, Kind]] = {
    "invalid_token": GrantRejected,
    "invalid_grant": GrantRejected,
    "invalid_client": ClientMisconfigured,
    "unauthorized_client": ClientMisconfigured,
    "temporarily_unavailable": Unavailable,
    "server_error": Unavailable,
}
CODES: Final = {
    Endpoint.TOKEN: _TOKEN_CODES,
    Endpoint.CHECK: _CHECK_CODES,
    Endpoint.REVOKE: _REVOKE_CODES,
    Endpoint.ACCOUNT: _CHECK_CODES,
    Endpoint.DEVICE: _TOKEN_CODES,
}
