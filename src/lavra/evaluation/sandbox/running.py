"""The outside of the sandbox: a program is started with nothing, listened to up to a limit, and killed in time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lavra.errors import LavraError
from lavra.evaluation.sandbox.isolation import Isolation, Kind, command, find_isolation, interpreter, readable


@dataclass(frozen=True)
class Limits:
    """``seconds`` by the clock, ``cpu_seconds`` of computing; ``memory``, ``file`` (the largest file) and ``folder``
    (all files) in megabytes; ``output``: bytes that it may print."""

    seconds: float = 5.0
    cpu_seconds: int = 4
    memory: int = 1024
    file: int = 1
    folder: int = 8
    output: int = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """``error``: why it did not pass, in a sentence without a full stop."""

    passed: bool
    error: str = ""
    output: str = ""
    seconds: float = 0.0


def run_program(program: str, tests: str = "", *, limits: Limits | None = None) -> Outcome:
    """Run ``program`` and then ``tests`` in the same names; it passes if the last line of the tests was reached.

    Both are Python and see only its standard library; no argument, variable, file or network of this machine.

    Raises:
        LavraError: where this machine has no walls that hold.
    """
    isolation = require_isolation()
    return run_behind(isolation.kind, program, tests, limits or Limits())


def require_isolation() -> Isolation:
    """The walls that programs are run behind. Raises LavraError where they have a hole."""
    found = find_isolation()
    if found is None or found.missing:
        holes = "nothing to run it behind" if found is None else f"no protection of {', '.join(found.missing)}"
        raise LavraError(
            f"a model's code is not run here, for there is {holes}: do it on Linux with user namespaces or Landlock, "
            "or install bubblewrap."
        )
    return found


@dataclass
class _Heard:
    """What a process said, up to a limit."""

    limit: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, part: bytes) -> bool:
        """Whether it was too much."""
        self.parts.append(part[: max(0, self.limit - self.size)])
        self.size += len(part)
        return self.size > self.limit

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode("utf-8", "replace")


def run_behind(kind: Kind, program: str, tests: str, limits: Limits, *, layers: bool = True) -> Outcome:
    """``run_program`` behind walls of this ``kind``; without the filters inside them where ``layers`` is false, for
    tests of the walls alone."""
    secret = secrets.token_hex(16)
    folder = "/work"
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="lavra-", ignore_cleanup_errors=True))
        os.chmod(root, 0o711)
        os.mkdir(f"{root}/work", 0o700)
        if kind == "filters":
            folder = f"{root}/work"
        given = {
            "secret": secret,
            "program": program,
            "tests": tests,
            "cpu_seconds": limits.cpu_seconds,
            "memory": limits.memory,
            "file": limits.file,
            "processes": 8,
            "filter": layers,
            "landlock": kind == "filters",
            "readable": [*readable(), "/dev/null", "/dev/urandom", "/dev/zero"],
            "folder": folder,
        }
        asked = stack.enter_context(tempfile.TemporaryFile())
        asked.write(json.dumps(given).encode())
        asked.seek(0)
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        text = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
        inside = [interpreter(), "-I", "-S", "-c", text, str(writing)]
        try:
            process = subprocess.Popen(
                command(kind, inside, limits.folder),
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                env={},
                cwd=root,
                start_new_session=True,
            )
        except OSError as error:
            os.close(writing)
            return Outcome(False, f"it could not be started: {error}")
        os.close(writing)
        return _listen(process, reading, secret, limits)


def _listen(process: subprocess.Popen[bytes], reading: int, secret: str, limits: Limits) -> Outcome:
    """Until it ends, says too much or has had its time; then nothing of it is left."""
    started = time.perf_counter()
    output, verdict = _Heard(limits.output), _Heard(4096)
    stopped = ""
    try:
        with selectors.DefaultSelector() as selector:
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, output)
            selector.register(reading, selectors.EVENT_READ, verdict)
            while selector.get_map() and not stopped:
                left = limits.seconds - (time.perf_counter() - started)
                if left <= 0:
                    stopped = f"it took more than {limits.seconds:g} seconds"
                for key, _ in selector.select(max(0.0, min(left, 0.1))):
                    part = os.read(_number(key.fileobj), 65536)
                    if not part:
                        selector.unregister(key.fileobj)
                    elif key.data.add(part):
                        stopped = f"it printed more than {limits.output:,} bytes"
                if process.poll() is not None and not selector.select(0):
                    break
        if not stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, limits.seconds - (time.perf_counter() - started)))
            stopped = "" if process.poll() is not None else f"it took more than {limits.seconds:g} seconds"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        status = process.wait()
        assert process.stdout is not None
        process.stdout.close()
    seconds = time.perf_counter() - started
    error = stopped or _error(verdict.text, secret, status, output.text)
    return Outcome(not error, error, output.text, seconds)


def _number(file: int | IO[bytes] | Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def _error(verdict: str, secret: str, status: int, output: str) -> str:
    """Why it did not pass; nothing where the verdict is genuine and good."""
    try:
        said = json.loads(verdict)
        genuine = secrets.compare_digest(str(said["secret"]), secret)
    except (ValueError, KeyError, TypeError):
        genuine = False
    if genuine:
        return str(said["error"])
    number = -status if status < 0 else status - 128
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return "it was killed: it computed too long or wrote too much"
    if status == 97:
        return f"its walls could not be built: {output.strip()[-200:]}"
    return f"it left before its tests were done, with status {status}"
