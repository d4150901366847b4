"""Where this deployment's servers are: the ones that the settings name, or the embedded ones."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from domain.errors import ConfigurationError
from services.connecting import Face
from services.settings import Settings
from services.wiring import Servers
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.embedded.secret_files import read_secret
from workers.supervision.ports import LOOPBACK

#: Files of the data folder's `secrets/`.
KEYS_FILE = "keys"
FLOWER_FILE = "flower_basic_auth"
#: Where the HTTP face listens unless it is told otherwise.
DEFAULT_PORT = 8080
#: In the data folder itself, where people look for it.
ADMIN_KEY_FILE = "admin_api_key"


def resolve(settings: Settings) -> Servers:
    """Return the servers and the key ring that this process works with.

    Raises:
        ConfigurationError: EVERGRANT_KEYS is missing where only the operator can give it.
        ServiceUnavailable: The embedded servers are meant, and were never started here.
    """
    folder = DataFolder(settings.data_dir)
    database_url = settings.database_url or SecretStr(EmbeddedPostgres(folder).url)
    redis_url = settings.redis_url or SecretStr(EmbeddedRedis(folder).url)
    return Servers(database_url, redis_url, keys(settings, folder))


def keys(settings: Settings, folder: DataFolder) -> SecretStr:
    """Return the key ring: the one that is set, or the one made for the embedded database.

    Raises:
        ConfigurationError: The database is not ours and no key ring is set; losing it would lose every token.
    """
    if settings.keys is not None:
        return settings.keys
    made = folder.secret(KEYS_FILE) if settings.database_url is None else None
    if made is None:
        raise ConfigurationError(
            "EVERGRANT_KEYS is not set: it seals every token. Make one with `evergrant keys generate`, keep "
            "it where your secrets are kept, and set it for every process"
        )
    return SecretStr(made)


def flower_basic_auth(settings: Settings) -> SecretStr:
    """Return Flower's user:password pairs: those that are set, or the ones made by `evergrant up`.

    Raises:
        ConfigurationError: There are none; Flower is never served without authentication.
    """
    if settings.flower_basic_auth is not None:
        return settings.flower_basic_auth
    made = DataFolder(settings.data_dir).secret(FLOWER_FILE)
    if made is None:
        raise ConfigurationError(
            "EVERGRANT_FLOWER_BASIC_AUTH is not set: Flower is served only with authentication; set it to "
            "user:password"
        )
    return SecretStr(made)


def admin_api_key(settings: Settings) -> SecretStr | None:
    """Return the API key that may do everything: the one that is set, or the one made by `evergrant up`.

    None: there is none, and nothing that asks for a key works.

    Raises:
        ConfigurationError: The file that holds it can be read by others, or is empty.
    """
    if settings.admin_api_key is not None:
        return settings.admin_api_key
    made = read_secret(admin_key_path(settings))
    return None if made is None else SecretStr(made)


def admin_key_path(settings: Settings) -> Path:
    """Return where the admin key is kept that `evergrant up` has made."""
    return DataFolder(settings.data_dir).path / ADMIN_KEY_FILE


def face(settings: Settings, port: int) -> Face:
    """Return where browsers reach the HTTP face that listens on this port."""
    return Face(settings.public_url or f"http://{LOOPBACK}:{port}", settings.redirect_allowlist)
