"""Throughput with an endpoint as slow as real ones, as a share of what the same slots can carry.

    python -m benchmarks.slow_provider [--rounds 3] [--messages 12000] [--threads 64] [--workers 2]

The same as `python -m benchmarks.throughput --slow`, with more threads.
"""

from __future__ import annotations

import sys

from benchmarks.throughput.__main__ import main

if __name__ == "__main__":
    main(["--slow", "--threads", "64", *sys.argv[1:]])
