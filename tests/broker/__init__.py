"""Tests of how Redis is used as the broker, with stock kombu beside ours."""
