"""Tests of the provider client: definitions, requests, judgement, and the wire on real sockets."""
