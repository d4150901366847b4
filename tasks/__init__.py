"""Thin Celery tasks, by the names of the contract, and how they are sent.

Arguments are ids and numbers, never a token; results are the services' result values as JSON.
"""
