"""The demo answers first and studies then; what cannot be studied is said, and it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PAGE = "# Opening hours\n\nThe library opens at nine in the morning and closes at eight in the evening.\n"


def test_the_demo_answers_and_says_why_there_is_no_study(tmp_path: Path, pulled: Callable[[str], Path]) -> None:
    pulled("smollm2-135m")
    pulled("e5-small-enpt")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "hours.md").write_text(PAGE)
    flags = ["--question", "When does the library open?", "--no-serve"]
    done = subprocess.run(
        [sys.executable, "-c", "from lavra.cli import main; main()", "demo", "docs", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "nine in the morning" in done.stdout
    assert "There is no study: " in done.stderr
    assert "Traceback" not in done.stderr
