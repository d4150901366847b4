"""The services together: real Postgres and Redis, the real simulator, and no process of ours between."""
