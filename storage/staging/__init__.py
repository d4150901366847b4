"""Staging: where a received answer lies while Postgres does not take it. Sealed everywhere it lies.

The spool, a folder on this machine, comes first and counts as safe; Redis has a second copy, from which
another machine can land it.
"""
