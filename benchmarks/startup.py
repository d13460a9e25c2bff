"""How long a person waits: for the import, the help, and the demo's first answer.

    python benchmarks/startup.py [--runs 5]

The peers are what the same person imports otherwise. The demo runs over the manual in a fresh directory, its models
already pulled; the clock runs from the command to the first character of the first answer, process start included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str], runs: int) -> float:
    """Median wall time of a command; the first run, which fills the file cache, is not counted."""
    taken = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def first_answer() -> tuple[float, float, str]:
    """Seconds from `lavra demo` to the first character of the answer, and to its end; and the answer."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lavra")), "demo", "--no-study", "--no-serve"],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"> "):
            if process.poll() is not None:
                raise SystemExit("the demo ended before it answered")
        process.stdout.readline()  # the empty line after the question
        first = process.stdout.read(1)
        to_first = time.perf_counter() - started
        rest = process.stdout.read()
        process.wait()
        return to_first, time.perf_counter() - started, (first + rest).decode()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    python, lavra = sys.executable, str(Path(sys.executable).with_name("lavra"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {runs}\n")
    for name, command, limit in (
        ("python -c pass", [python, "-c", "pass"], ""),
        ("import lavra", [python, "-c", "import lavra"], "≤ 0.3 s"),
        ("lavra --help", [lavra, "--help"], "≤ 0.5 s"),
        ("import transformers (peer)", [python, "-c", "import transformers"], ""),
        ("import sentence_transformers (peer)", [python, "-c", "import sentence_transformers"], ""),
    ):
        print(f"{name:38} {seconds(command, runs if 'peer' not in name else 2):7.2f} s  {limit}", flush=True)
    to_first, to_end, answer = first_answer()
    print(f"{'lavra demo → first token':38} {to_first:7.2f} s  ≤ 45 s")
    print(f"{'lavra demo → answer complete':38} {to_end:7.2f} s\n\n{answer}")


if __name__ == "__main__":
    main()
