"""Clients, codes and tokens, in memory, as Authlib's interfaces want them."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

#: What a code lives for (RFC 6749 §4.1.2: at most ten minutes).
CODE_SECONDS = 60


@dataclass(frozen=True)
class Client(ClientMixin):
    """A registered client; `auth_method` is the one way in which it may say who it is."""

    client_id: str
    client_secret: str
    auth_method: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uris[0]

    def get_allowed_scope(self, scope: str | None) -> str:
        asked = self.scopes if not scope else scope.split()
        return " ".join(one for one in asked if one in self.scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(self.client_secret, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.auth_method or (method, endpoint) == ("registered_id", "introspection")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


@dataclass(frozen=True)
class User:
    """A resource owner."""

    name: str

    @property
    def email(self) -> str:
        return f"{self.name}@users.example"


@dataclass
class Code(AuthorizationCodeMixin):
    """An authorization code that has not been used."""

    code: str
    client_id: str
    redirect_uri: str | None
    scope: str
    user: User
    code_challenge: str | None
    code_challenge_method: str | None
    issued_at: float = field(default_factory=time.time)

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return time.time() > self.issued_at + CODE_SECONDS


@dataclass
class Token(TokenMixin):
    """One answer's pair of tokens. Rotation revokes the refresh token, revocation both."""

    client_id: str
    user: User
    access_token: str
    refresh_token: str | None
    scope: str
    expires_in: int
    issued_at: float = field(default_factory=time.time)
    access_revoked: bool = False
    refresh_revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_expires_in(self) -> int:
        return self.expires_in

    def is_expired(self) -> bool:
        return time.time() > self.issued_at + self.expires_in

    def is_revoked(self) -> bool:
        return self.access_revoked

    def get_user(self) -> User:
        return self.user


class Store:
    """Everything the server knows. Requests come in threads."""

    def __init__(self, clients: Iterator[Client]) -> None:
        self._lock = threading.Lock()
        self._clients = {client.client_id: client for client in clients}
        self._codes: dict[str, Code] = {}
        self._tokens: list[Token] = []

    def client(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def add_code(self, code: Code) -> None:
        with self._lock:
            self._codes[code.code] = code

    def code(self, code: str, client: Client) -> Code | None:
        found = self._codes.get(code)
        usable = found is not None and found.client_id == client.client_id and not found.is_expired()
        return found if usable else None

    def spend(self, code: Code) -> None:
        with self._lock:
            self._codes.pop(code.code, None)

    def add_token(self, token: dict[str, Any], client: Client, user: User) -> None:
        with self._lock:
            self._tokens.append(
                Token(
                    client_id=client.client_id,
                    user=user,
                    access_token=token["access_token"],
                    refresh_token=token.get("refresh_token"),
                    scope=token.get("scope", ""),
                    expires_in=token["expires_in"],
                )
            )

    def by_access_token(self, text: str) -> Token | None:
        return next((token for token in self._tokens if token.access_token == text), None)

    def by_refresh_token(self, text: str) -> Token | None:
        return next((token for token in self._tokens if token.refresh_token == text), None)

    def revoke(self, token: Token) -> None:
        with self._lock:
            token.access_revoked = token.refresh_revoked = True
