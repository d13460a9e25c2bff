"""What a model writes can do no harm, cannot pass by leaving early, and HumanEval is judged as its paper says."""

from __future__ import annotations

import itertools
import math
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from lavra.errors import LavraError
from lavra.evaluation.harness.programs import checks_of, pass_at_k, passes, read_programs, whole_program
from lavra.evaluation.sandbox.isolation import KINDS, Kind, readable, try_isolation
from lavra.evaluation.sandbox.running import Limits, Outcome, require_isolation, run_behind, run_program


def _there(kind: Kind) -> Kind:
    found = try_isolation(kind)
    if found is None or found.missing:
        pytest.skip(f"{kind} cannot be had on this machine: {found}")
    return kind


@pytest.fixture
def walls() -> None:
    """There are some that hold."""
    try:
        require_isolation()
    except LavraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return _there(request.param)


def _run(kind: Kind, program: str, tests: str = "", **limits: object) -> Outcome:
    return run_behind(kind, program, tests, Limits(**limits))  # type: ignore[arg-type]


def test_some_walls_hold_everything_they_say(kind: Kind) -> None:
    found = try_isolation(kind)
    assert found is not None
    assert not found.missing, found
    assert "no network" in found.said()


def test_a_right_program_passes_and_a_wrong_one_says_why(kind: Kind) -> None:
    assert _run(kind, "def f(x): return x + 1", "assert f(1) == 2").passed
    wrong = _run(kind, "def f(x): return x", "assert f(1) == 2, 'no'")
    assert not wrong.passed
    assert wrong.error == "AssertionError: no"
    assert _run(kind, "def f(x) return x").error.startswith("SyntaxError")


@pytest.mark.parametrize(
    "leaving",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "import os; os.execv('/bin/true', ['t'])",
    ],
)
def test_leaving_before_the_tests_is_not_passing(kind: Kind, leaving: str) -> None:
    assert not _run(kind, leaving, "assert False").passed
    assert not _run(kind, f"def f():\n    {leaving}", "f()\nassert False").passed


def test_what_looks_like_a_verdict_is_none(kind: Kind) -> None:
    """The pipe may be found and written to; the secret is not in it."""
    forged = (
        "import os\n"
        "for n in range(3, 30):\n"
        '    try: os.write(n, b\'{"secret": "00000000000000000000000000000000", "error": ""}\')\n'
        "    except OSError: pass\n"
        "os._exit(0)\n"
    )
    assert not _run(kind, forged).passed


SEEN = {Path(path).relative_to(Path.home()).parts[0] for path in readable() if Path.home() in Path(path).parents}
"""What of the home leads to Python itself: names without what they hold."""
HARM = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "ten gigabytes": "b = bytearray(10 * 2**30)",
    "the home": f"import os\nassert set(os.listdir({str(Path.home())!r})) - {SEEN!r}",
    "passwords": "print(open('/etc/passwd').read())",
    "its judge's files": f"print(open({__file__!r}).read())",
    "the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "all processes": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "another program": "import subprocess\nsubprocess.run(['/bin/ls'], check=True)",
    "a large file": "open('large', 'wb').write(bytes(5 * 2**20))",
    "an endless loop": "while True: pass",
    "sleeping": "import time\ntime.sleep(60)",
    "much output": "while True: print('x' * 10_000)",
    "standard input": "input()",
    "the environment": "import os\nassert os.environ.get('LAVRA_SHARED') or os.environ['HOME']",
}


@pytest.mark.parametrize("what", HARM)
def test_harm_is_not_done_and_does_not_pass(kind: Kind, what: str) -> None:
    outcome = _run(kind, HARM[what], seconds=1.0, cpu_seconds=1)
    assert not outcome.passed, what
    assert len(outcome.output) <= 64 * 1024
    assert what != "passwords" or "root:" not in outcome.output


@pytest.mark.parametrize("what", ["fork bomb", "the home", "its judge's files", "all processes"])
def test_the_namespaces_alone_hold_it_too(what: str) -> None:
    """Without the filter of calls: one layer's hole is another's wall."""
    kind = _there("namespaces")
    assert not run_behind(kind, HARM[what], "", Limits(1.0, 1), layers=False).passed
    assert run_behind(kind, "x = 1", "assert x", Limits()).passed


@pytest.mark.parametrize("layers", [True, False])
def test_nobody_is_reached_over_the_network(kind: Kind, layers: bool) -> None:
    if kind == "filters" and not layers:
        pytest.skip("the filter is its only wall")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)"
        assert not run_behind(kind, program, "", Limits(), layers=layers).passed
        with pytest.raises(TimeoutError):
            server.accept()


def test_nothing_is_written_outside_and_nothing_stays(kind: Kind, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target, old = tmp_path / "written", tmp_path / "old"
    old.write_text("kept")
    for attempt in (f"open({str(target)!r}, 'w').write('x')", f"import os\nos.truncate({str(old)!r}, 0)",
                    f"import os\nos.remove({str(old)!r})", f"import os\nos.chmod({str(old)!r}, 0)"):  # fmt: skip
        assert not _run(kind, attempt).passed, attempt
    assert not target.exists()
    assert old.read_text() == "kept"
    assert old.stat().st_mode & 0o400
    inside = _run(kind, "import os\nassert os.listdir() == []\nopen('a', 'w').write('x')\nprint(os.getcwd())")
    assert inside.passed
    assert not Path(inside.output.strip(), "a").exists()


def test_nothing_is_left_running_and_no_folder(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    before = set(psutil.pids())
    seen: list[bool] = []
    with ThreadPoolExecutor() as pool:
        running = pool.submit(_run, kind, "import time\ntime.sleep(60)", seconds=3.0)
        while not running.done():
            seen.append(any(map(_is_inside, set(psutil.pids()) - before)))
            time.sleep(0.05)
    assert any(seen)
    assert not running.result().passed
    assert list(tmp_path.iterdir()) == []
    end = time.monotonic() + 5  # the kernel ends the first at once, those below it when it comes to them
    while any(map(_is_inside, set(psutil.pids()) - before)):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_inside(number: int) -> bool:
    """Whether this process runs the sandbox's program; one that ended, and only waits to be counted, does not."""
    try:
        return "inside the sandbox" in " ".join(psutil.Process(number).cmdline()).casefold()
    except psutil.NoSuchProcess:  # a zombie too
        return False


def test_many_at_once_do_not_meet(walls: None) -> None:
    outcomes: list[Outcome] = []

    def one(number: int) -> None:
        program = f"import os\nassert os.listdir() == []\nopen('n', 'w').write('{number}')\nprint(open('n').read())"
        outcomes.append(run_program(program))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(outcome.output) for outcome in outcomes) == list(range(6))


def test_code_is_refused_where_a_wall_has_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    from lavra.evaluation.sandbox import running
    from lavra.evaluation.sandbox.isolation import Isolation

    hole = Isolation("filters", files=False, writing=True, network=True, processes=True, memory=True)
    for found, said in ((hole, "no protection of files"), (None, "nothing to run it behind")):
        monkeypatch.setattr(running, "find_isolation", lambda found=found: found)
        with pytest.raises(LavraError, match=said):
            run_program("x = 1")


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    """Counted out: of all ways to draw k of n answers."""
    for n, c, k in itertools.product(range(1, 8), range(8), range(1, 8)):
        if c <= n and k <= n:
            right = [number < c for number in range(n)]
            draws = list(itertools.combinations(right, k))
            assert math.isclose(pass_at_k(n, c, k), sum(map(any, draws)) / len(draws), abs_tol=1e-12)


def test_humaneval_s_own_solutions_all_pass_and_empty_ones_never(shared: Path, walls: None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = shared / "eval" / "code" / "humaneval" / "HumanEval.jsonl.gz"
    rows = read_programs(path)
    assert len(rows) == 164

    def judged(row: dict[str, str], answer: str) -> bool:
        return run_program(whole_program(row, answer), checks_of(row), limits=Limits(20.0, 15)).passed

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        right = list(pool.map(lambda row: judged(row, row["canonical_solution"]), rows))
        empty = list(pool.map(lambda row: judged(row, "    pass\n"), rows[::8]))
    assert sum(right) == 164
    assert sum(empty) == 0


def test_several_answers_give_pass_at_one_and_ten(shared: Path, walls: None) -> None:
    row = read_programs(shared / "eval" / "code" / "humaneval" / "HumanEval.jsonl.gz")[2]
    answers = [row["canonical_solution"], *["    pass\n"] * 9]
    assert passes(row, [answers]) == {"pass@1": pytest.approx(0.1), "pass@10": 1.0}
    assert passes(row, [f"{row['canonical_solution']}```\nThat is all."]) == {"pass@1": 1.0}


def test_the_gauntlet_s_exercises_are_judged_alike(shared: Path, walls: None) -> None:
    folder = shared / "eval" / "gauntlet" / "local_data" / "programming"
    for name in ("human_eval-0.25", "human_eval-0.75", "human_eval_return_simple", "human_eval_return_complex"):
        for row in read_programs(folder / f"{name}.jsonl")[::30]:
            whole = whole_program(row, row["canonical_solution"])
            assert run_program(whole, checks_of(row)).passed, (name, row["task_id"])


def test_the_task_runs_nothing_unless_it_was_allowed(shared: Path, walls: None) -> None:
    pytest.importorskip("lm_eval")
    from lavra.evaluation.harness.running import Settings, consent, select

    chosen = select(["humaneval"], shared / "eval")
    built = chosen.tasks[0].built
    assert not built.doc_to_text(built.eval_docs[0]).endswith("\n"), "a tokenizer joins it to the indent that follows"
    with pytest.raises(LavraError, match="--run-code"):
        consent(chosen, Settings())
    assert "no network" in consent(chosen, Settings(run_code=True))
    assert consent(select(["boolq"], shared / "eval"), Settings()) == ""
