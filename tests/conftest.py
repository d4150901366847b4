"""Registers the shared fixtures."""

pytest_plugins = [
    "tests.support.background",
    "tests.support.servers",
    "tests.support.simulator",
]
