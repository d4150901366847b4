"""What a process holds in memory stays there."""

from __future__ import annotations

import subprocess
import sys

_ASKS = """
import atexit, resource, sys
atexit.register(lambda: print(resource.getrlimit(resource.RLIMIT_CORE)))
sys.argv = ["evergrant", "keys", "generate"]
from workers.cli.app import main
main()
"""


def test_no_command_leaves_a_core() -> None:
    """A crash writes no memory to the disk, where keys and tokens would outlive it."""
    done = subprocess.run(
        [sys.executable, "-c", _ASKS], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(0, 0)"
