"""Authlib's server in a Flask application: what is switched on, and where it keeps things."""

from __future__ import annotations

from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9207 import IssuerParameter
from flask import Flask, Response, jsonify, request

from tests.support.authserver.store import Client, Code, Store, Token, User

#: Seconds an access token lives.
LIFETIME = 3600
#: Who refuses.
NOBODY = "nobody"
_METHODS = ["client_secret_basic", "client_secret_post", "none"]


def application(store: Store, *, issuer: str) -> Flask:
    """The server's endpoints over a store."""
    app = Flask("authserver")
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"authorization_code": LIFETIME, "refresh_token": LIFETIME}

    def save_token(token: dict[str, Any], asked: Any) -> None:
        store.add_token(token, asked.client, asked.user)

    server = AuthorizationServer(app, query_client=store.client, save_token=save_token)
    server.register_grant(_code_grant(store), [CodeChallenge(required=True)])
    server.register_grant(_refresh_grant(store))
    server.register_endpoint(_revocation(store))
    server.register_endpoint(_introspection(store))
    server.register_extension(_issuer(issuer))
    server.register_client_auth_method(
        "registered_id", lambda query, asked: query(asked.form.get("client_id", ""))
    )
    protector = ResourceProtector()
    protector.register_token_validator(_validator(store))

    @app.get("/authorize")
    def authorize() -> Response:
        name = request.args.get("login_hint", "alice")
        user = None if name == NOBODY else User(name)
        try:
            grant = server.get_consent_grant(end_user=user)
        except OAuth2Error as error:
            return server.handle_error_response(None, error)  # type: ignore[no-any-return]  # Authlib has no types
        return server.create_authorization_response(grant_user=user, grant=grant)  # type: ignore[no-any-return]  # the same

    @app.post("/token")
    def token() -> Response:
        return server.create_token_response()  # type: ignore[no-any-return]  # the same

    @app.post("/revoke")
    def revoke() -> Response:
        return server.create_endpoint_response("revocation")  # type: ignore[no-any-return]  # the same

    @app.post("/introspect")
    def introspect() -> Response:
        return server.create_endpoint_response("introspection")  # type: ignore[no-any-return]  # the same

    def userinfo() -> Response:
        user = current_token.get_user()
        return jsonify(sub=user.name, email=user.email)

    app.get("/userinfo")(protector()(userinfo))
    return app


def _code_grant(store: Store) -> type:
    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

        def save_authorization_code(self, code: str, asked: Any) -> None:
            store.add_code(
                Code(
                    code=code,
                    client_id=asked.client.client_id,
                    redirect_uri=asked.payload.redirect_uri,
                    scope=asked.scope or "",
                    user=asked.user,
                    code_challenge=asked.payload.data.get("code_challenge"),
                    code_challenge_method=asked.payload.data.get("code_challenge_method"),
                )
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return store.code(code, client)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            store.spend(authorization_code)

        def authenticate_user(self, authorization_code: Code) -> User:
            return authorization_code.user

    return CodeGrant


def _refresh_grant(store: Store) -> type:
    class RefreshGrant(grants.RefreshTokenGrant):
        INCLUDE_NEW_REFRESH_TOKEN = True
        TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

        def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
            found = store.by_refresh_token(refresh_token)
            return None if found is None or found.refresh_revoked else found

        def authenticate_user(self, credential: Token) -> User:
            return credential.user

        def revoke_old_credential(self, credential: Token) -> None:
            credential.refresh_revoked = True

    return RefreshGrant


def _found(store: Store, text: str) -> Token | None:
    # RFC 7009 §2.1: a wrong hint must not keep the token from being found.
    tokens = (store.by_refresh_token(text), store.by_access_token(text))
    return next((token for token in tokens if token is not None), None)


def _revocation(store: Store) -> type:
    class Revocation(RevocationEndpoint):
        CLIENT_AUTH_METHODS = _METHODS

        def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
            return _found(store, token_string)

        def revoke_token(self, token: Token, asked: Any) -> None:
            store.revoke(token)

    return Revocation


def _introspection(store: Store) -> type:
    class Introspection(IntrospectionEndpoint):
        # RFC 7662 §2.1 wants some authorization and leaves it open which; here it is a client that is known.
        CLIENT_AUTH_METHODS = ["registered_id"]  # noqa: RUF012 - Authlib's attribute

        def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
            return store.by_access_token(token_string)

        def check_permission(self, token: Token, client: Client, asked: Any) -> bool:
            return token.check_client(client)

        def introspect_token(self, token: Token) -> dict[str, Any]:
            return {
                "active": True,
                "client_id": token.client_id,
                "sub": token.user.name,
                "scope": token.scope,
                "exp": int(token.issued_at + token.expires_in),
            }

    return Introspection


def _issuer(issuer: str) -> Any:
    class Issuer(IssuerParameter):
        def get_issuer(self) -> str:
            return issuer

    return Issuer()


def _validator(store: Store) -> Any:
    class Validator(BearerTokenValidator):
        def authenticate_token(self, token_string: str) -> Token | None:
            return store.by_access_token(token_string)

    return Validator()
