"""Postgres: schema and migrations, sealing, the token store, activity and alerts. Stranger to `providers`."""
