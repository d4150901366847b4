"""Something to find again in both embedded servers."""

from __future__ import annotations

import psycopg
import redis

from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis


def write_both(folder: DataFolder, words: str) -> None:
    with psycopg.connect(EmbeddedPostgres(folder).url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (words text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (words,))
    with redis.Redis.from_url(EmbeddedRedis(folder).url) as client:
        client.rpush("kept", words)


def read_both(folder: DataFolder) -> tuple[list[str], list[str]]:
    with psycopg.connect(EmbeddedPostgres(folder).url) as connection:
        rows = [str(row[0]) for row in connection.execute("SELECT words FROM kept ORDER BY words")]
    with redis.Redis.from_url(EmbeddedRedis(folder).url, decode_responses=True) as client:
        return rows, sorted(str(word) for word in client.lrange("kept", 0, -1))
