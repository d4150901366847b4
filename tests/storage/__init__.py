"""Storage, against real Postgres."""
