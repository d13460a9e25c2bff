"""Lavra's model class against the harness's own for transformers: same weights, same items, same answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from tiny_decoders import WORDS, tiny_decoder  # noqa: E402

from lavra.evaluation.harness.extra import require_harness  # noqa: E402
from lavra.evaluation.harness.kept import Kept  # noqa: E402
from lavra.evaluation.harness.model import HarnessModel  # noqa: E402
from lavra.evaluation.harness.room import Room  # noqa: E402
from lavra.evaluation.harness.running import RESAMPLES, Selection, Settings, evaluate  # noqa: E402
from lavra.evaluation.harness.task_files import TaskFile, build_task  # noqa: E402

require_harness()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("harness")
    return lambda kind: tiny_decoder(kind, root / kind.replace(" ", "-"))


def both(path: Path) -> tuple[HarnessModel, Any]:
    from lm_eval.models.huggingface import HFLM

    from lavra.model.weights import load_model
    from lavra.tokens.tokenizer import load_tokenizer

    ours = HarnessModel(load_model(path, dtype=torch.float32).eval(), load_tokenizer(path))
    return ours, HFLM(str(path), device="cpu", dtype="float32", batch_size=8)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]  # type: ignore[arg-type]


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def questions() -> list[tuple[str, str]]:
    """Shared examples, shared questions, single and several tokens, an empty context, one that is too long, repeats."""
    draw = random.Random(3)
    found: list[tuple[str, str]] = []
    for _ in range(2):
        examples = text(draw, 40) + "\n\n"
        for _ in range(12):
            question = examples + text(draw, draw.randrange(1, 14))
            found += [(question, " " + text(draw, draw.randrange(1, 6))) for _ in range(draw.randrange(1, 5))]
            found += [(question, " A"), (question, " B")]
    found += [(text(draw, 3), " xylophone"), ("", "the cat"), ("", " quiz?"), ("trailing ", "space"), ("a", "b")]
    found += [(text(draw, 200), " " + text(draw, 4)) for _ in range(3)]
    for words in (36, 20, 28):  # with continuations that go beyond a window, and some that do not
        question = text(draw, words)
        found += [(question, " " + text(draw, count)) for count in (45, 3, 30, 1, 5)]
    return [*found, *found[:4]]


@pytest.mark.parametrize("kind", ["rotary", "learned", "window", "some windows"])
def test_log_likelihoods_are_those_of_the_harness_own_class(directory: Callable[[str], Path], kind: str) -> None:
    ours, theirs = both(directory(kind))
    asked = instances("loglikelihood", list(questions()))
    mine, judged = ours.loglikelihood(asked), theirs.loglikelihood(asked, disable_tqdm=True)
    worst = max(abs(one[0] - other[0]) for one, other in zip(mine, judged, strict=True))
    assert worst < 1e-3
    assert [one[1] for one in mine] == [other[1] for other in judged]
    assert ours.cut == 3  # and the three that did not fit were told of


def test_small_batches_and_small_caches_change_nothing(
    directory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = both(directory("rotary"))
    asked = instances("loglikelihood", list(questions()))
    at_ease = ours.loglikelihood(asked)
    monkeypatch.setattr(Room, "of", classmethod(lambda cls, model: cls(tokens=64, cached=200, reach=160)))
    crowded = ours.loglikelihood(asked)
    monkeypatch.setattr(Room, "of", classmethod(lambda cls, model: cls(tokens=2048, cached=10_000, reach=0)))
    unshared = ours.loglikelihood(asked)
    for other in (crowded, unshared):
        assert max(abs(a[0] - b[0]) for a, b in zip(at_ease, other, strict=True)) < 1e-4


def test_whole_texts_are_read_in_the_harness_windows(directory: Callable[[str], Path]) -> None:
    ours, theirs = both(directory("rotary"))
    draw = random.Random(5)
    asked = instances("loglikelihood_rolling", [(text(draw, length),) for length in (3, 90, 300, 700)])
    mine, judged = ours.loglikelihood_rolling(asked), theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    assert mine == pytest.approx(judged, abs=1e-2, rel=1e-5)


@pytest.mark.parametrize("kind", ["rotary", "learned", "window", "some windows"])
def test_what_is_written_is_what_the_harness_own_class_writes(directory: Callable[[str], Path], kind: str) -> None:
    ours, theirs = both(directory(kind))
    draw = random.Random(11)
    examples = text(draw, 60)
    prompts = [f"{examples}\n\n{text(draw, draw.randrange(1, 10))}" for _ in range(10)]
    prompts += [text(draw, count) for count in (1, 5, 5, 30, 300)]
    settings: list[dict[str, Any]] = [
        {"until": ["cat", "\n\n"], "max_gen_toks": 24, "do_sample": False},
        {"until": [], "max_gen_toks": 12},
        {"until": "bi", "max_gen_toks": 30, "temperature": 0.0},
    ]
    asked = instances("generate_until", [(prompt, each) for each in settings for prompt in prompts])
    judged = theirs.generate_until([Instance("generate_until", {}, i.args, i.idx) for i in asked], disable_tqdm=True)
    assert ours.generate_until(asked) == judged
    assert len(set(judged)) > 10  # they say different things


def test_a_sampled_answer_is_the_same_for_the_same_seed(directory: Callable[[str], Path]) -> None:
    ours, _ = both(directory("rotary"))
    asked = instances("generate_until", [("the cat", {"do_sample": True, "temperature": 1.0, "max_gen_toks": 16})])
    first = ours.generate_until(asked)
    assert ours.generate_until(asked) == first
    ours.seed = 8
    assert ours.generate_until(asked) != first


# ── whole tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _tasks(root: Path) -> Selection:
    """A task of each kind over rows made here, with examples before the questions."""
    import json

    draw = random.Random(23)
    rows = []
    for number in range(40):
        words = draw.sample(WORDS, 4)
        rows.append(
            {"query": text(draw, 8), "choices": words, "gold": number % 4, "context": text(draw, 6), "word": words[0]}
        )
    path = root / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    common = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test",
        "fewshot_split": "test", "num_fewshot": 2,
    }  # fmt: skip
    mean = {"aggregation": "mean", "higher_is_better": True}
    configs = [
        {
            "task": "chosen", "output_type": "multiple_choice", "doc_to_text": "{{query}}\nAnswer:",
            "doc_to_choice": "choices", "doc_to_target": "gold",
            "metric_list": [{"metric": "acc", **mean}, {"metric": "acc_norm", **mean}],
        },
        {
            "task": "continued", "output_type": "loglikelihood", "doc_to_text": "context",
            "doc_to_target": " {{word}}", "target_delimiter": "",
            "metric_list": [
                {"metric": "acc", **mean},
                {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            ],
        },
        {
            "task": "written", "output_type": "generate_until", "doc_to_text": "context", "doc_to_target": "word",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
            "metric_list": [{"metric": "exact_match", **mean}],
        },
    ]  # fmt: skip
    return Selection(tuple(build_task(TaskFile(c["task"], {**common, **c}), None) for c in configs))


def test_the_metrics_of_whole_tasks_are_the_same(directory: Callable[[str], Path], tmp_path: Path) -> None:
    from lm_eval.evaluator import evaluate as ask

    ours, theirs = both(directory("rotary"))
    results, samples = evaluate(ours, _tasks(tmp_path), Settings(limit=30))
    again = {task.name: task.built for task in _tasks(tmp_path).tasks}
    for built in again.values():
        built.set_fewshot_seed(1234)
    same_items = {task: [row["doc_id"] for row in rows] for task, rows in samples.items()}
    judged = ask(theirs, {"tasks": again, "groups": {}, "group_map": {}}, samples=same_items, bootstrap_iters=RESAMPLES)
    for task in ("chosen", "continued", "written"):
        mine, other = results["results"][task], judged["results"][task]
        assert mine.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, float):
                assert mine[name] == pytest.approx(value, rel=1e-4), name
        for one, two in zip(samples[task], judged["samples"][task], strict=True):
            assert one["doc_hash"] == two["doc_hash"]
            assert one["prompt_hash"] == two["prompt_hash"]
    assert results["lavra"]["scores"]["chosen"]["baselines"]["random"] == 0.25


def test_a_stopped_evaluation_goes_on_where_it_was(
    directory: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def interrupted(what: str, done: int, total: int) -> None:
        heard.append(done)
        if 10 < done < total - 10 and not survived:
            raise Killed

    path = directory("rotary")
    scored = instances("loglikelihood", list(questions()))
    written = instances("generate_until", [(text(random.Random(n), 5), {"max_gen_toks": 6}) for n in range(80)])
    whole, _ = both(path)
    expected = whole.loglikelihood(scored), whole.generate_until(written)
    monkeypatch.setattr(Room, "of", classmethod(lambda cls, model: cls(tokens=256, cached=500, reach=160, written=500)))
    heard: list[int] = []
    survived = False
    for ask, asked, answers in (("loglikelihood", scored, expected[0]), ("generate_until", written, expected[1])):
        heard.clear()
        file = tmp_path / f"{ask}.jsonl"
        with pytest.raises(Killed):
            getattr(_with(whole, Kept(file), interrupted), ask)(asked)
        with file.open("a") as lines:
            lines.write('["half a li')  # what the kill cut off
        survived, before = True, heard[-1]
        heard.clear()
        again = getattr(_with(whole, Kept(file), interrupted), ask)(asked)
        assert heard[0] >= before  # nothing is asked twice
        if ask == "loglikelihood":
            assert max(abs(a[0] - b[0]) for a, b in zip(again, answers, strict=True)) < 1e-4
        else:
            assert again == answers
        survived = False


def _with(model: HarnessModel, kept: Kept, progress: Any) -> HarnessModel:
    return HarnessModel(model.model, model.words, kept=kept, progress=progress)
