"""Measurements, each run on demand and none of them a test. Results are JSON, in `benchmarks/results/`."""
