"""Says what an answer that is no success means: by the provider's rules, the RFCs, then the status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    Malformed,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from providers.answer_times import retry_after
from providers.answers import json_object, member
from providers.definition import ProviderDefinition
from providers.definition_tables import Judgement, Ok, Where
from providers.error_codes import CODES, OUTCOMES, TROUBLE, Kind
from providers.http import WireAnswer
from providers.vocabulary import Endpoint, Outcome

_BEARER_ERROR: Final = re.compile(r'\berror\s*=\s*"?([A-Za-z_]{1,64})"?')
#: An error code that is words, perhaps with a number behind: everything else a provider puts there (a
#: sentence, an identifier, a token) is not passed on.
_WORDS: Final = re.compile(r"[a-z]{1,32}(?:[_.-][a-z]{1,32}){0,7}(?:[_.-]?[0-9]{1,6})?")
#: A code that shares this many characters in a row with a secret of the call is taken for an echo of it.
_ECHO: Final = 6
#: Of a text that a rule looks into, as much as may hold what it looks for.
_LONGEST_TEXT: Final = 10_000
#: Endpoints where an access token is presented: RFC 6750 §3.1 says what their answers mean.
_OF_BEARERS: Final = (Endpoint.CHECK, Endpoint.ACCOUNT)


class Reading:
    """One answer, read once.

    Attributes:
        document: The JSON object of its body; None if it holds none.
    """

    def __init__(
        self, definition: ProviderDefinition, endpoint: Endpoint, answer: WireAnswer, secrets: Iterable[str]
    ) -> None:
        """Read an answer.

        Args:
            secrets: What the request carried; never part of an error's code.
        """
        self.document = json_object(answer.body)
        self.answer = answer
        self._definition = definition
        self._endpoint = endpoint
        self._secrets = tuple(secrets)

    def raise_refusal(self, *, trouble: type[ProviderError], ok: Ok | None = None) -> None:
        """Return if the answer is a success.

        Args:
            trouble: What "it may have happened" means here.
            ok: What a success must say; where it does, nothing else in it counts as an error.

        Raises:
            ProviderError: The kind that says what to do next.
        """
        if (failure := self._by_rule()) is not None:
            raise failure
        code = self.error_code()
        success = 200 <= self.answer.status < 300
        if success and ok is not None:
            said = member(self.document, ok.member)
            if _same(said, ok.equals):
                return
            if code is None:
                self._raise_not_ok(said)
        elif success and code is None:
            return
        if self._endpoint in _OF_BEARERS and code not in CODES[self._endpoint]:
            # RFC 6750 §3 puts it there; beside it stands a body in words of the provider's own.
            code = _bearer_error(self.answer.headers) or code
        kind, name = _default(self._endpoint, code, self.answer.status)
        if kind is GrantRejected and self._endpoint in _OF_BEARERS:
            name = "token_rejected"
        raise self.failure(kind or trouble, name or self._shown(code))

    def _raise_not_ok(self, said: object) -> None:
        """Raise what a 2xx means that does not say what a success must say, and names no error either."""
        if said is None:
            code = "answer_too_large" if self.answer.oversized else "answer_invalid"
            raise Malformed(code, http_status=self.answer.status)
        if self._endpoint in _OF_BEARERS:
            raise self.failure(GrantRejected, "token_rejected")
        raise self.failure(Refused, self._shown(None))

    def error_code(self) -> str | None:
        """Return the answer's error code in lower case, None where it carries no error.

        Some answers describe the error in an object: then it counts as an error without a code, "".
        """
        found: str | None = None
        for path in self._definition.error_member:
            if error := member(self.document, path):
                code = _text(error)
                if code is not None:
                    return code.lower()
                found = ""
        return found

    def failure(self, kind: type[ProviderError], code: str) -> ProviderError:
        """Return an error about this answer."""
        return kind(code, http_status=self.answer.status, retry_after=retry_after(self.answer.headers))

    def _by_rule(self) -> ProviderError | None:
        for rule in self._definition.rules[self._endpoint]:
            if rule.status is not None and rule.status != self.answer.status:
                continue
            if self._in_trouble and rule.status is None and rule.outcome is Outcome.GRANT_REJECTED:
                continue
            found = _text(member(self.document, rule.member))
            if rule.code is not None and found not in rule.code:
                continue
            if rule.where is not None and not _holds(rule.where, self.document):
                continue
            return self.failure(OUTCOMES[rule.outcome], self._name_of(rule, found))
        return None

    @property
    def _in_trouble(self) -> bool:
        """Whether the server has its own troubles, or counts our requests: it is believed about no grant."""
        return self.answer.status >= 500 or self.answer.status == 429

    def _name_of(self, rule: Judgement, found: str | None) -> str:
        return rule.name or self._shown(None if found is None else found.lower())

    def _shown(self, code: str | None) -> str:
        """Return the provider's own code where it is safe to show, else one made of the status."""
        if code and _WORDS.fullmatch(code) and len(code) <= 64 and not _echoes(code, self._secrets):
            return code
        return f"http_{self.answer.status}"


def _holds(where: Where, document: object) -> bool:
    text = _text(member(document, where.member))
    return text is not None and where.contains.lower() in text[:_LONGEST_TEXT].lower()


def _default(endpoint: Endpoint, code: str | None, status: int) -> tuple[Kind, str | None]:
    """Judge by the RFCs' codes, else by the status; the second is the code to show, None for the provider's.

    A server in trouble, or one that is counting our requests, is believed about nothing else.
    """
    codes = CODES[endpoint]
    if code is not None and code in codes and status < 500 and status != 429:
        return codes[code], code
    return _by_status(endpoint, status)


def _by_status(endpoint: Endpoint, status: int) -> tuple[Kind, str | None]:
    match status:
        case 401 if endpoint in _OF_BEARERS:
            return GrantRejected, None
        case 401 if endpoint is Endpoint.REVOKE:
            return ClientMisconfigured, None
        case 404 | 405 | 410:
            return ClientMisconfigured, "endpoint_gone"
        case 408:
            return TROUBLE, None
        case 429:
            return RateLimited, "rate_limited"
        case 503:
            return Unavailable, "unavailable"
        case _ if 300 <= status < 400:
            return ClientMisconfigured, "endpoint_moved"
        case _ if status >= 500:
            return TROUBLE, f"http_{status}"
        case _ if status < 200:
            return Malformed, None
        case _:
            return Refused, None


def _bearer_error(headers: Mapping[str, str]) -> str | None:
    found = _BEARER_ERROR.search(headers.get("www-authenticate", ""))
    return None if found is None else found.group(1).lower()


def _text(value: object) -> str | None:
    """Write a code as rules name it; a list, an object or a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def _same(said: object, wanted: bool | int | str) -> bool:
    """Compare a member with what a success says; providers write true and numbers as texts, too (Wix)."""
    if isinstance(said, str) == isinstance(wanted, str):
        # 1 == True in Python, and not in JSON.
        return type(said) is type(wanted) and said == wanted
    return isinstance(said, bool | int | str) and str(said).strip().lower() == str(wanted).lower()


def _echoes(code: str, secrets: Iterable[str]) -> bool:
    size = min(len(code), _ECHO)
    pieces = {code[start : start + size] for start in range(len(code) - size + 1)}
    return any(
        secret.lower() in code or any(piece in secret.lower() for piece in pieces)
        for secret in secrets
        if secret
    )
