"""The embedded Postgres's settings, each with its reason."""

from __future__ import annotations

HBA = """\
# Written by evergrant at every start.
# One role, by password, from this machine; everybody else, the superuser included, is refused.
host all evergrant 127.0.0.1/32 scram-sha-256
"""

_SETTINGS = """\
# Written by evergrant at every start; put settings of your own into local.conf beside this file.

# TCP on the loopback: the path of a Unix socket may not exceed 107 bytes, a data folder's may.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'

# A committed rotation must survive a power cut: the provider may have forgotten the token before it.
fsync = on
full_page_writes = on
synchronous_commit = on

# A dozen processes with pools of their own, and some room for a person.
max_connections = 200
shared_buffers = '128MB'
# Short statements: compiling one takes longer than running it.
jit = off
# No replication from an embedded server.
max_wal_senders = 0

timezone = 'UTC'
log_timezone = 'UTC'
# To standard error, which the supervisor puts into logs/ and rotates.
logging_collector = off
log_line_prefix = '%m [%p] '
# A failing statement's text may name users; its error message is enough.
log_min_error_statement = panic

include_if_exists = 'local.conf'
"""


def settings(port: int) -> str:
    """Give the whole of `postgresql.conf` for a server on this port."""
    return _SETTINGS.format(port=port)
