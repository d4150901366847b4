"""Password verifiers as Postgres stores them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

_ITERATIONS = 4096
"""RFC 7677 §4's minimum and Postgres's default; the password is random, so more would protect nothing."""


def scram_verifier(password: str) -> str:
    """Give what `CREATE ROLE … PASSWORD` accepts in place of the password (RFC 5803, SCRAM-SHA-256).

    So the password itself is in no statement, and none that fails can put it into a log.

    Args:
        password: ASCII, which SASLprep leaves as it is.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${_ITERATIONS}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
