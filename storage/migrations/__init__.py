"""Alembic's environment. Run it through `storage.migrate`, which builds its configuration in code."""
