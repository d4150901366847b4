"""A server's port, kept from one start to the next."""

from __future__ import annotations

from pathlib import Path

from storage.files import replace_private
from workers.supervision.ports import free_port, is_free


def remembered_port(path: Path) -> int | None:
    """Read the port that was chosen last; None when none was."""
    try:
        written = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(written) if written.isdigit() and 0 < int(written) < 65536 else None


def choose_port(path: Path) -> int:
    """Give the remembered port if it is free, else a new one, and remember it."""
    port = remembered_port(path)
    if port is not None and is_free(port):
        return port
    port = free_port()
    replace_private(path, f"{port}\n")
    return port
