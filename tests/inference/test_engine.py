"""The engine on the real SmolLM2: greedy text, prefixes, stops, seeds, windows, threads."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from lavra.errors import LavraError
from lavra.inference.engine import PREFILL_CHUNK, Engine, Generated
from lavra.inference.sampling import Sampling

PASSAGE = (
    "The lighthouse keeper wrote the weather into a book every morning: wind, cloud, the height of the waves. "
    "On the ninth of March the barometer fell faster than he had ever seen it fall, and he lit the lamp at noon. "
)


@pytest.fixture(scope="module")
def exact(pulled: Callable[[str], Path]) -> Engine:
    """In float32, to be compared with transformers."""
    pulled("smollm2-135m")
    return Engine.load("smollm2-135m", dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(pulled: Callable[[str], Path]) -> Engine:
    """In whatever this machine computes in."""
    pulled("smollm2-135m")
    return Engine.load("smollm2-135m")


def run(engine: Engine, prompt: Sequence[int] | str, **settings: object) -> list[Generated]:
    ids = engine.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    return list(engine.stream(ids, Sampling(**{"max_tokens": 24, **settings})))  # type: ignore[arg-type]


def text(steps: Sequence[Generated]) -> str:
    return "".join(step.text for step in steps)


def ids(steps: Sequence[Generated]) -> list[int]:
    return [step.token_id for step in steps]


def forget(engine: Engine) -> None:
    """As if freshly loaded."""
    engine._cache, engine._cached_ids = None, []


@pytest.mark.slow
def test_greedy_text_is_that_of_transformers_on_the_same_file(exact: Engine, pulled: Callable[[str], Path]) -> None:
    from transformers import AutoModelForCausalLM

    path = pulled("smollm2-135m")
    judge = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()
    conversations = ("What is the capital of Portugal?", "Write a haiku about rain.", PASSAGE * 14 + "What did he do?")
    for question in conversations:
        prompt = exact.tokenizer.encode_chat([{"role": "user", "content": question}])
        with torch.inference_mode():
            expected = judge.generate(
                torch.tensor([prompt]), max_new_tokens=32, do_sample=False, eos_token_id=list(exact.tokenizer.eos_ids)
            )[0, len(prompt) :].tolist()
        assert ids(run(exact, prompt, max_tokens=32)) == expected


@pytest.mark.parametrize("extra", [-1, 0, 1, 60])
def test_a_shared_prefix_changes_not_even_the_last_bit(engine: Engine, extra: int) -> None:
    system = engine.tokenizer.encode(PASSAGE * 8)[: PREFILL_CHUNK + extra]
    prompt = [*system, *engine.tokenizer.encode("And what did he write down then?")]
    forget(engine)
    alone = engine._prefill(prompt, lambda: False)
    forget(engine)
    run(engine, [*system, *engine.tokenizer.encode("Who came to the door on the tenth?")], max_tokens=3)
    shared = engine._prefill(prompt, lambda: False)
    assert alone is not None
    assert shared is not None
    assert torch.equal(alone, shared)


def test_the_prefix_of_the_last_request_is_not_computed_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    system = engine.tokenizer.encode(PASSAGE * 8)[: 2 * PREFILL_CHUNK - 10]
    passes: list[int] = []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda chunk: passes.append(len(chunk)) or forward(chunk))
    forget(engine)
    run(engine, [*system, 1, 2, 3], max_tokens=1)
    assert sum(passes) == len(system) + 3
    passes.clear()
    run(engine, [*system, 4, 5, 6], max_tokens=1)
    assert sum(passes) == len(system) + 3 - PREFILL_CHUNK


def test_an_answer_does_not_depend_on_what_was_asked_before(engine: Engine) -> None:
    first = PASSAGE * 5 + "He then"
    forget(engine)
    alone = ids(run(engine, first))
    for before in (PASSAGE * 5 + "She never", PASSAGE * 2, first, "Something else entirely."):
        run(engine, before)
        assert ids(run(engine, first)) == alone


def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine: Engine) -> None:
    warm = {"temperature": 1.2, "top_p": 0.95, "max_tokens": 16}
    first = text(run(engine, "Once upon a time", seed=1, **warm))
    assert first == text(run(engine, "Once upon a time", seed=1, **warm))
    assert first != text(run(engine, "Once upon a time", seed=2, **warm))


def test_the_stream_is_the_decoded_tokens(engine: Engine) -> None:
    steps = run(engine, "List three Portuguese words with accents: coração, ", max_tokens=40)
    assert text(steps) == engine.tokenizer.decode(
        [token for token in ids(steps) if token not in engine.tokenizer.eos_ids]
    )
    assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert steps[-1].finish_reason in ("stop", "length")


def test_a_stop_string_ends_the_answer_and_does_not_show_however_tokens_cut_it(engine: Engine) -> None:
    whole = text(run(engine, PASSAGE, max_tokens=40))
    assert len(whole) > 60
    for at in range(12, 36, 4):
        stop = whole[at : at + 9]
        steps = run(engine, PASSAGE, max_tokens=40, stop=(stop, "never to be seen"))
        assert text(steps) == whole[: whole.index(stop)]
        assert steps[-1].finish_reason == "stop"


def test_an_end_token_ends_the_answer_without_text(engine: Engine) -> None:
    prompt = engine.tokenizer.encode_chat([{"role": "user", "content": "Say only: yes"}])
    steps = run(engine, prompt, max_tokens=200)
    assert steps[-1].finish_reason == "stop"
    assert steps[-1].token_id in engine.tokenizer.eos_ids
    assert "<|im_end|>" not in text(steps)


def test_max_tokens_is_a_count_of_tokens(engine: Engine) -> None:
    steps = run(engine, "One two three", max_tokens=5)
    assert len(steps) == 5
    assert steps[-1].finish_reason == "length"


def test_the_answer_ends_where_the_window_does(pulled: Callable[[str], Path]) -> None:
    pulled("smollm2-135m")
    small = Engine.load("smollm2-135m", context_length=20)
    prompt = small.tokenizer.encode("a b c d e f g h")
    steps = run(small, prompt, max_tokens=500)
    assert len(prompt) + len(steps) <= 20
    assert steps[-1].finish_reason in ("length", "stop")


def test_a_prompt_longer_than_the_window_is_refused_at_once_in_one_sentence(engine: Engine) -> None:
    with pytest.raises(LavraError, match="tokens and the window of smollm2-135m 8192; shorten"):
        engine.stream([5] * 8192, Sampling())
    with pytest.raises(LavraError, match="the prompt is empty"):
        engine.stream([], Sampling())
    with pytest.raises(LavraError, match="another tokenizer"):
        engine.stream([10**6], Sampling())
    with pytest.raises(LavraError, match="temperature"):
        engine.stream([5], Sampling(temperature=-1))
    with pytest.raises(LavraError, match="context_length is 9000"):
        Engine.load("smollm2-135m", context_length=9000)
    with pytest.raises(LavraError, match="encoder"):
        Engine.load("minilm-l6")


def test_cancelling_ends_the_answer_after_the_token_at_hand(engine: Engine) -> None:
    shown: list[Generated] = []
    for step in engine.stream(engine.tokenizer.encode(PASSAGE), Sampling(), cancelled=lambda: len(shown) >= 3):
        shown.append(step)
    assert len(shown) <= 5
    assert shown[-1].finish_reason == "cancelled"
    steps = list(engine.stream(engine.tokenizer.encode("fresh " * 90), Sampling(), cancelled=lambda: True))
    assert steps == [Generated(-1, "", "cancelled")]


def test_a_stream_that_is_dropped_lets_the_next_request_in(engine: Engine) -> None:
    stream = engine.stream(engine.tokenizer.encode(PASSAGE), Sampling())
    next(iter(stream))
    del stream
    assert run(engine, "Hello", max_tokens=2)


def test_a_request_that_waits_can_be_cancelled(engine: Engine) -> None:
    holding = engine.stream(engine.tokenizer.encode(PASSAGE), Sampling())
    next(iter(holding))
    waiting = engine.stream(engine.tokenizer.encode(PASSAGE), Sampling(), cancelled=lambda: True)
    assert list(waiting) == [Generated(-1, "", "cancelled")]
    holding.close()  # type: ignore[attr-defined]


def test_threads_get_the_answers_they_would_get_alone(engine: Engine) -> None:
    prompts = [f"{PASSAGE} Question {number}:" for number in range(4)]
    alone = [ids(run(engine, prompt, max_tokens=8)) for prompt in prompts]
    together: dict[int, list[int]] = {}

    def work(number: int) -> None:
        together[number] = ids(run(engine, prompts[number], max_tokens=8))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(4)] == alone


def test_the_repetition_penalty_breaks_a_loop(engine: Engine) -> None:
    loop = "no no no no no no no no no no no no no no no no"
    plain = run(engine, loop, max_tokens=12)
    penalised = run(engine, loop, max_tokens=12, repetition_penalty=1.5)
    assert len(set(ids(penalised))) > len(set(ids(plain)))


def test_the_cache_grows_without_changing_the_answer(exact: Engine) -> None:
    prompt = exact.tokenizer.encode(PASSAGE * 30)[:1000]
    forget(exact)
    growing = ids(run(exact, prompt, max_tokens=40))  # crosses 1,024
    assert exact._cache is not None
    assert exact._cache.capacity == 2048
    forget(exact)
    exact._room(4096)
    assert ids(run(exact, prompt, max_tokens=40)) == growing


def test_settings_are_not_changed_by_use(engine: Engine) -> None:
    sampling = Sampling(max_tokens=3)
    list(engine.stream([5, 6], sampling))
    assert sampling == dataclasses.replace(sampling)
