"""The conformance run: what it finds, and what it must find."""
