"""Every setting of Evergrant: one name, one unit, one check at start.

Nothing else reads the environment; the servers that are embedded when a URL is unset are resolved by the
process that starts (`workers.deployment`), which hands the completed settings to `services.wiring`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.errors import ConfigurationError
from services.origins import origin_of, web_url

PREFIX = "EVERGRANT_"
_DATABASE_SCHEMES = ("postgresql://", "postgres://")
_REDIS_SCHEMES = ("redis://", "rediss://")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: An API key that is shorter can be found by trying.
SHORTEST_KEY = 16


class Settings(BaseSettings):
    """The settings as the environment gives them. None means unset: the embedded default is used.

    Attributes:
        database_url: Postgres, ``postgresql://user:password@host:port/database``.
        redis_url: Broker, result backend and coordination, ``redis://`` or ``rediss://``.
        data_dir: What the embedded default keeps.
        keys: The key ring, ``id:base64-of-32-bytes``, comma-separated; all open, and the first one seals
            as soon as every process holds it.
        providers_file: TOML file that adds or overrides provider definitions.
        worker_threads: Threads of one worker process, each refreshing one token at a time.
        bulk_workers: Worker processes that `evergrant up` starts for the bulk queues.
        queue_seconds: How many seconds of work a bulk queue may hold.
        forecast_days: How many days before a grant dies people hear of it; later where it lives short.
        flower_basic_auth: ``user:password`` for Flower; several comma-separated.
        internal_hosts: Hosts of providers that may lead inside, comma-separated; None: none but loopback
            hosts that a definition has written out.
        public_url: Where browsers reach the HTTP face; None: its own address on 127.0.0.1.
        redirect_allowlist: Origins that a browser may be sent to when a connection was made, beside the
            public URL's; comma-separated.
        admin_api_key: An API key that may do everything.
        log_format: ``json`` for machines, ``console`` for people.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    data_dir: Path = Path(".evergrant")
    keys: SecretStr | None = None
    providers_file: Path | None = None
    worker_threads: int = Field(default=16, ge=1, le=200)
    bulk_workers: int = Field(default=1, ge=1, le=64)
    queue_seconds: float = Field(default=3.0, ge=0.5, le=60)
    forecast_days: float = Field(default=7.0, gt=0, le=365)
    flower_basic_auth: SecretStr | None = None
    internal_hosts: str | None = None
    public_url: str | None = None
    redirect_allowlist: Annotated[tuple[str, ...], NoDecode] = ()
    admin_api_key: SecretStr | None = None
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def spool_dir(self) -> Path:
        """Where received answers lie that Postgres does not take; it must survive the process."""
        return self.data_dir.absolute() / "spool"

    @property
    def internal_host_names(self) -> frozenset[str]:
        """The hosts that may lead inside, each as it is written in URLs."""
        return frozenset(_hosts(self.internal_hosts or ""))

    @field_validator("internal_hosts")
    @classmethod
    def _exact_hosts(cls, hosts: str | None) -> str | None:
        for host in _hosts(hosts or ""):
            if not _is_host(host):
                message = (
                    f"has {host[:80]!r}, which is no host; write exact names or addresses, comma-separated, "
                    "without scheme, port, path or wildcard: sso.intern.example,10.0.0.7"
                )
                raise ValueError(message)
        return hosts

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(_DATABASE_SCHEMES):
            message = "must begin with postgresql:// (postgresql://user:password@host:5432/database)"
            raise ValueError(message)
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_only(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(_REDIS_SCHEMES):
            message = "must begin with redis:// or rediss:// (redis://:password@host:6379/0)"
            raise ValueError(message)
        if url is not None and not _whole_redis_url(url.get_secret_value()):
            # redis-py would take a database that is no number for 0, and quote a piece of a password that
            # holds an unescaped '/' as the port.
            message = (
                "is malformed; write redis://:password@host:6379/0 with a number for port and database, and "
                "percent-encode special characters in the password"
            )
            raise ValueError(message)
        return url

    @field_validator("flower_basic_auth")
    @classmethod
    def _pairs(cls, pairs: SecretStr | None) -> SecretStr | None:
        if pairs is not None:
            for pair in pairs.get_secret_value().split(","):
                user, colon, password = pair.partition(":")
                if not (user and colon and password):
                    message = "must be user:password (several comma-separated)"
                    raise ValueError(message)
        return pairs

    @field_validator("public_url")
    @classmethod
    def _reachable_by_browsers(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = web_url(url)
        if parts is None or parts.query or parts.fragment or "?" in url or "#" in url:
            message = (
                "must be an address such as https://evergrant.example.com, without query or fragment; plain "
                "http is for loopback hosts alone, because browsers bring secrets there"
            )
            raise ValueError(message)
        return url.rstrip("/")

    @field_validator("redirect_allowlist", mode="before")
    @classmethod
    def _origins(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        origins = []
        for number, entry in enumerate(given.split(","), start=1):
            origin = origin_of(entry.strip())
            written = entry.strip().lower().rstrip("/")
            if origin is None or written not in (origin, f"{origin}:443", f"{origin}:80"):
                message = (
                    f"must be origins such as https://app.example.com, comma-separated; entry {number} is "
                    "none (no path, no wildcard; plain http for loopback hosts alone)"
                )
                raise ValueError(message)
            origins.append(origin)
        return tuple(origins)

    @field_validator("admin_api_key")
    @classmethod
    def _hard_to_guess(cls, key: SecretStr | None) -> SecretStr | None:
        text = None if key is None else key.get_secret_value()
        if text is not None and (len(text) < SHORTEST_KEY or not text.isascii() or not text.isprintable()):
            message = (
                f"must be at least {SHORTEST_KEY} printable ASCII characters; "
                "`openssl rand -hex 32` makes one"
            )
            raise ValueError(message)
        return key

    @field_validator("providers_file")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            message = f"names {path}, which is not a file that can be read"
            raise ValueError(message)
        return path


def _hosts(text: str) -> list[str]:
    return [host.strip() for host in text.split(",")] if text.strip() else []


def _is_host(host: str) -> bool:
    """Say whether a text is one host's name (RFC 1123 §2.1) or address."""
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    return True


def _whole_redis_url(url: str) -> bool:
    """Say whether host, port and database of a Redis URL are what they must be."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    database = parts.path.removeprefix("/")
    return (
        bool(parts.hostname)
        and port != 0
        and parts.netloc.count("@") <= 1
        and not parts.fragment
        and (database == "" or (database.isascii() and database.isdecimal()))
    )


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: Names every variable that is wrong, and what is wrong with it, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{str(item['loc'][0]).upper()} {_reason(item['type'], item['msg'])}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise ConfigurationError(problems) from None


def _reason(kind: str, message: str) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"is not usable: {message[0].lower()}{message[1:]}"


def environment() -> Mapping[str, str]:
    """Return the process environment, for the providers' client ids and secrets alone."""
    return os.environ
