"""Leaving, waiting and stopping: what happens to answers that are being made."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from house import House
from live import eventually

from lavra.errors import LavraError
from lavra.serving.serve import bind, run
from lavra.serving.settings import ServeSettings

Serve = Callable[..., str]


def body(question: str = "say on and on", model: str = "endless", **parameters: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 100_000} | parameters


def test_leaving_a_stream_stops_the_model(serve: Serve) -> None:
    house = House()
    with httpx.stream("POST", f"{serve(house)}/v1/chat/completions", json=body(stream=True)) as response:
        lines = response.iter_lines()
        while "content" not in next(lines):
            pass
    left = house.endless.produced
    assert eventually(lambda: not house.endless.lock.locked(), 1.0)
    stopped = house.endless.produced
    assert stopped - left < 100  # of 10,000 words that would have come
    time.sleep(0.2)
    assert house.endless.produced == stopped


def test_leaving_an_unstreamed_answer_stops_the_model(serve: Serve) -> None:
    house = House()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{serve(house)}/v1/chat/completions", json=body(), timeout=0.5)
    assert eventually(lambda: not house.endless.lock.locked(), 1.0)
    stopped = house.endless.produced
    time.sleep(0.2)
    assert house.endless.produced == stopped


def streaming(address: str, started: threading.Event, stop: threading.Event, lines: list[str]) -> None:
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body(stream=True), timeout=30) as response:
        started.set()
        for line in response.iter_lines():
            lines.append(line)
            if stop.is_set():
                return


def test_a_full_queue_refuses_with_retry_after_and_waiting_streams_stay_alive(serve: Serve) -> None:
    house = House()
    address = serve(house, ServeSettings(queue=1, keep_alive_seconds=0.1))
    stop = threading.Event()
    heard: list[list[str]] = [[], []]
    threads = []
    for lines in heard:  # one is answered, one waits
        started = threading.Event()
        threads.append(threading.Thread(target=streaming, args=(address, started, stop, lines)))
        threads[-1].start()
        assert started.wait(5)
    refused = httpx.post(f"{address}/v1/chat/completions", json=body(stream=True))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["Retry-After"]) >= 1
    metrics = httpx.get(f"{address}/metrics").text
    assert re.search(r"^lavra_queue_length 1\.0$", metrics, re.M)
    assert re.search(r"^lavra_answers_in_flight 1\.0$", metrics, re.M)
    assert httpx.get(f"{address}/health").status_code == 503  # a balancer looks elsewhere
    assert eventually(lambda: ": 1 ahead" in heard[1])
    assert not any(line.startswith("data:") for line in heard[1])
    assert any(line.startswith("data:") for line in heard[0])
    stop.set()
    for thread in threads:
        thread.join(10)
    assert eventually(lambda: httpx.get(f"{address}/health").status_code == 200)
    assert httpx.post(f"{address}/v1/chat/completions", json=body(model="handbook")).status_code == 200


def test_who_leaves_the_queue_is_never_answered(serve: Serve) -> None:
    house = House()
    address = serve(house)
    started, stop = threading.Event(), threading.Event()
    first = threading.Thread(target=streaming, args=(address, started, stop, []))
    first.start()
    assert started.wait(5)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=body("say never"), timeout=0.3)
    stop.set()
    first.join(10)
    assert eventually(lambda: "lavra_queue_length 0.0" in httpx.get(f"{address}/metrics").text)
    assert len(house.endless.asked) == 1


def test_an_error_in_the_middle_of_a_stream_is_said_in_the_stream(serve: Serve) -> None:
    class Failing(House):
        def search(self, question: str, roles: frozenset[str]) -> Any:
            time.sleep(0.8)  # after the headers have gone out
            raise LavraError("the index was removed while it was read: run `lavra index`.")

    response = httpx.post(f"{serve(Failing())}/v1/chat/completions", json=body(stream=True, model="handbook"))
    assert response.status_code == 200
    events = [line for line in response.text.splitlines() if line.startswith("data:")]
    assert "lavra index" in json.loads(events[-1][5:])["error"]["message"]
    assert "[DONE]" not in response.text


# --- starting and stopping --------------------------------------------------------------------------------------


def test_a_taken_port_gives_the_next_one() -> None:
    with bind("127.0.0.1", 0) as taken, bind("127.0.0.1", taken.getsockname()[1]) as other:
        assert taken.getsockname()[1] < other.getsockname()[1] <= taken.getsockname()[1] + 20


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_what_is_no_port_is_refused_in_one_sentence(port: int) -> None:
    with pytest.raises(LavraError, match=f"^{port} is no port: give --port a number from 1 to 65535"):
        bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_in_one_sentence() -> None:
    with pytest.raises(LavraError, match=r"no address '203\.0\.113\.5'"):
        bind("203.0.113.5", 0)
    with pytest.raises(LavraError, match=r"no address 'nowhere\.invalid'"):
        bind("nowhere.invalid", 0)


def test_the_network_is_not_served_without_keys() -> None:
    with pytest.raises(LavraError, match="--insecure"):
        run(House(), "0.0.0.0", 0)


SERVER = """
import sys
sys.path.insert(0, {here!r})
from house import House
from lavra.serving.serve import run
from lavra.serving.settings import ServeSettings
run(House(delay=0.1), port={port}, settings=ServeSettings(shutdown_seconds={grace}),
    on_ready=lambda address: print(address, flush=True))
print("stopped", flush=True)
"""


def start(port: int, grace: int) -> tuple[subprocess.Popen[str], str]:
    script = textwrap.dedent(SERVER).format(here=str(Path(__file__).parent), port=port, grace=grace)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_an_answer_finish_and_ends_without_a_traceback(number: signal.Signals) -> None:
    process, address = start(free_port(), grace=10)
    lines: list[str] = []
    question = body("say one two three four five six seven eight nine ten", model="handbook", stream=True)
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=question, timeout=20) as response:
        for line in response.iter_lines():
            lines.append(line)
            if "two" in line:
                os.kill(process.pid, number)
    assert "data: [DONE]" in lines
    out, err = process.communicate(timeout=15)
    assert out.strip() == "stopped"
    assert "Traceback" not in err
    assert process.returncode == 0


def test_ctrl_c_does_not_wait_for_ever() -> None:
    process, address = start(free_port(), grace=1)
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body(stream=True), timeout=20) as response:
        lines = response.iter_lines()
        while "content" not in next(lines):
            pass
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=15)
    assert time.monotonic() - began < 8
    assert out.strip() == "stopped"
    assert process.returncode == 0
