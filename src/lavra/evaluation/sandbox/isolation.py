"""Which walls this machine has. They are tried, not believed: a program that attacks each of them says what holds."""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lavra.evaluation.sandbox.running import Outcome

Kind = Literal["bubblewrap", "namespaces", "filters"]
KINDS: tuple[Kind, ...] = ("bubblewrap", "namespaces", "filters")
"""Best first. ``filters``: no new namespaces, only Landlock for files and seccomp for calls."""


@dataclass(frozen=True)
class Isolation:
    """What the walls of ``kind`` were seen to hold. ``files``: those of this machine cannot be read; ``writing``:
    nothing can be written outside an empty folder; ``network``: no socket; ``processes``: none started, none
    signalled; ``memory``: there is a limit."""

    kind: Kind
    files: bool
    writing: bool
    network: bool
    processes: bool
    memory: bool

    @property
    def missing(self) -> tuple[str, ...]:
        names = ("files", "writing", "network", "processes", "memory")
        return tuple(name for name in names if not getattr(self, name))

    def said(self) -> str:
        """For a report."""
        words = {"bubblewrap": "bubblewrap", "namespaces": "Linux namespaces", "filters": "Landlock and seccomp"}
        if not self.missing:
            return f"run behind {words[self.kind]}: no network, no files but Python's, no other process, memory limited"
        return f"run behind {words[self.kind]}, which do not hold: {', '.join(self.missing)}"


@cache
def find_isolation() -> Isolation | None:
    """The first that holds all, else the one that holds most; None where no program can be run at all."""
    found = []
    for kind in KINDS:
        tried = try_isolation(kind)
        if tried is not None and not tried.missing:
            return tried
        found += [tried] if tried is not None else []
    return min(found, key=lambda tried: len(tried.missing), default=None)


_ATTACK = """
import json, os, socket, sys
def holds(attempt):
    try:
        attempt()
    except BaseException:
        return True
    return False
def grow():
    bytearray(2 ** 34)
def start():
    if os.fork() == 0:
        os._exit(0)
def look():
    assert set(os.listdir(HOME)) - set(SEEN)
def strike():
    os.kill(os.getppid(), 0)
print(json.dumps({
    "files": holds(lambda: open(SECRET).read()) and holds(look),
    "writing": holds(lambda: open(OUTSIDE, "w").write("x")),
    "network": holds(lambda: socket.create_connection((HOST, PORT), 1)),
    "processes": holds(start) and (holds(strike) or os.getppid() == 1),
    "memory": holds(grow),
}))
"""


def try_isolation(kind: Kind) -> Isolation | None:
    """Attacked with a program that knows a file, a folder, a listening port and its parent; None where it did not run.

    The port is open on this machine for as long as it takes, to this machine alone.
    """
    import socket

    from lavra.evaluation.sandbox.running import Limits, run_behind

    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        return None
    if kind != "filters" and not sys.platform.startswith("linux"):
        return None
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        os.chmod(folder, 0o777)
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        secret.chmod(0o644)
        host, port = listening.getsockname()
        values: dict[str, Any] = {"SECRET": str(secret), "OUTSIDE": f"{folder}/written", "HOST": host, "PORT": port}
        home = Path.home()
        values["HOME"] = str(home)
        values["SEEN"] = [Path(path).relative_to(home).parts[0] for path in readable() if home in Path(path).parents]
        program = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + _ATTACK
        outcome = run_behind(kind, program, "", Limits())
    return _read(kind, outcome)


def _read(kind: Kind, outcome: Outcome) -> Isolation | None:
    if not outcome.passed:
        return None
    try:
        return Isolation(kind, **{name: bool(held) for name, held in json.loads(outcome.output).items()})
    except (ValueError, TypeError):
        return None


@cache
def interpreter() -> str:
    """The program itself, not an environment's link to it."""
    return os.path.realpath(sys.executable)


@cache
def readable() -> tuple[str, ...]:
    """What Python needs of this machine's files: itself, its library, and the system's."""
    own = [interpreter(), sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    own += glob.glob(f"{sysconfig.get_config_var('LIBDIR') or ''}/libpython*.so*")
    if sys.base_prefix not in ("/", "/usr"):
        own.append(f"{sys.base_prefix}/lib")
    own += ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
    return tuple(dict.fromkeys(path for path in own if path and os.path.exists(path)))


def command(kind: Kind, inside: list[str], megabytes: int) -> list[str]:
    """``inside`` with the walls before it; to be run in a folder in which ``work`` is an empty one."""
    return _COMMANDS[kind](inside, megabytes)


def _bubblewrap(inside: list[str], megabytes: int) -> list[str]:
    bound = [part for path in readable() for part in ("--ro-bind", path, path)]
    walls = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    user = ["--uid", "1000", "--gid", "1000"]
    place = ["--dev", "/dev", "--size", str(megabytes * 2**20), "--tmpfs", "/work", "--chdir", "/work"]
    return [shutil.which("bwrap") or "bwrap", *walls, *user, *bound, *place, "--", *inside]


def _namespaces(inside: list[str], megabytes: int) -> list[str]:
    settings = {"readable": list(readable()), "folder": megabytes}
    text = Path(__file__).with_name("walls.py").read_text(encoding="utf-8")
    return [interpreter(), "-I", "-S", "-c", text, json.dumps(settings), *inside]


_COMMANDS: dict[Kind, Callable[[list[str], int], list[str]]] = {
    "bubblewrap": _bubblewrap,
    "namespaces": _namespaces,
    "filters": lambda inside, megabytes: inside,
}
