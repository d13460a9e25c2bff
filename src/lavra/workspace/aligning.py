"""The verb ``align``: a model learns what people prefer, or what a function rewards, as an adapter over it.

Data is read (``corpus/preferences.py``), laid out as tuning does, references are computed once, a part is held out, and
the objective of the method runs on the loop. What is left behind is a run's directory with an adapter that peft reads,
and the same measures before and after.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from lavra.corpus.examples.example import Problem
from lavra.corpus.preferences import Judgement, Preference, read_judgements, read_preferences, read_prompts
from lavra.errors import LavraError
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.adapted import named_as
from lavra.model.adapter_files import save_adapter
from lavra.model.adapters import AdapterConfig, Adapters, attach
from lavra.model.base import Model
from lavra.model.hub import resolve
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.objectives.answers import Text, places
from lavra.objectives.grpo import GRPO, token_scores
from lavra.objectives.kto import KTO, judge
from lavra.objectives.preferences import DPO, ORPO, Pair, SimPO
from lavra.objectives.reference import with_references
from lavra.objectives.reward import BradleyTerry, reward_model, rewards
from lavra.tokens.conversation import encode_conversation
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.training.callbacks import Callback, Result
from lavra.training.evaluation import HeldOut, evaluate_once
from lavra.training.loader import ShuffledLoader
from lavra.training.loop import Trainer
from lavra.training.rollouts import Prompt, Reward, Rollouts
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings

Method = Literal["dpo", "ipo", "orpo", "kto", "simpo", "reward", "grpo"]
METHODS: tuple[Method, ...] = get_args(Method)
BETAS: dict[str, float] = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "kto": 0.1, "simpo": 2.0, "grpo": 0.0}
RewardFunction = Callable[[str, Sequence[str], Mapping[str, Any]], Sequence[float]]
"""Of a prompt as text, the answers to it, and the row the prompt comes from: how good each answer is."""


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """``beta``: see the method's objective. ``limit``: rows that are used, drawn by the seed; None: all.
    ``validation``: the share held out. ``group``, ``answer_tokens``: GRPO's answers to a prompt, and their length."""

    method: Method = "dpo"
    beta: float | None = None
    gamma: float = 1.0
    label_smoothing: float = 0.0
    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    learning_rate: float = 5e-5
    epochs: int | None = None
    steps: int | None = None
    batch_tokens: int = 8192
    micro_tokens: int | None = None
    context: int = 1024
    limit: int | None = None
    validation: float = 0.1
    seed: int = 0
    group: int = 8
    answer_tokens: int = 64

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LavraError(f"method is {self.method!r}: it is one of {', '.join(METHODS)}.")
        if not 0 <= self.validation < 1:
            raise LavraError(f"validation is {self.validation}: it is a share, from 0 to below 1.")
        if self.limit is not None and self.limit < 2:
            raise LavraError(f"limit is {self.limit}: give at least 2 rows.")

    @property
    def training(self) -> TrainSettings:
        steps, epochs = self.steps, self.epochs
        return TrainSettings(
            steps=steps,
            epochs=1 if steps is None and epochs is None else epochs,
            batch_tokens=self.batch_tokens,
            micro_tokens=self.micro_tokens,
            learning_rate=self.learning_rate,
            warmup=0.1,
            weight_decay=0.0,
            seed=self.seed,
        )

    def objective(self) -> Any:
        """The method's."""
        beta = BETAS.get(self.method, 0.0) if self.beta is None else self.beta
        made: dict[Method, Callable[[], Any]] = {
            "dpo": lambda: DPO(beta, label_smoothing=self.label_smoothing),
            "ipo": lambda: DPO(beta, "ipo"),
            "orpo": lambda: ORPO(beta),
            "kto": lambda: KTO(beta),
            "simpo": lambda: SimPO(beta, self.gamma, self.label_smoothing),
            "reward": lambda: BradleyTerry(margins=True),
            "grpo": lambda: GRPO(beta),
        }
        return made[self.method]()


@dataclass
class Aligned:
    """``before``, ``after``: measures on what was held out; ``problems``: rows left out; ``path``: the run's."""

    result: Result
    before: dict[str, float]
    after: dict[str, float]
    trained: int
    held: int
    problems: list[Problem] = field(default_factory=list)
    path: Path = Path()


def align(
    data: Path,
    out: Path,
    *,
    model: str = "smollm2-135m",
    settings: AlignSettings | None = None,
    reward: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Aligned:
    """Align ``model`` to ``data`` and write the run to ``out``: ``adapter/`` (a reward model: ``model/``), the log, and
    checkpoints from which the same call continues. ``reward``: of GRPO, ``file.py:function`` or a reward model.

    Raises LavraError for data that holds nothing, a model that cannot write, or a method that lacks something.
    """
    chosen = settings or AlignSettings()
    found = resolve(model)
    tokenizer = load_tokenizer(found.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = chosen.training
    base = load_model(found.path, dtype=training.compute_dtype(device), device=device)
    if not base.config.writes:
        raise LavraError(f"{found.name} does not write; align a decoder.")
    if chosen.method == "reward":
        base = reward_model(base, seed=chosen.seed)
    _, family = named_as(base, None if chosen.method == "reward" else found.path)
    config = AdapterConfig(
        rank=chosen.rank, alpha=2.0 * chosen.rank if chosen.alpha is None else chosen.alpha, targets=chosen.targets
    )
    adapters = attach(base, config, family, seed=chosen.seed)
    if base.head.classifier is not None:
        base.head.classifier.requires_grad_(True)
    run = RunDirectory(out)
    if chosen.method == "grpo":
        done = _reinforce(data, run, base, adapters, tokenizer, chosen, reward, callbacks)
    else:
        done = _prefer(data, run, base, adapters, tokenizer, chosen, found.sha256, callbacks)
    done.path = out
    if chosen.method == "reward":
        save_model(adapters.merge(), out / "model", tokenizer=tokenizer, overwrite=True)
    else:
        save_adapter(adapters, family, out / "adapter", base=found.name, base_sha256=found.sha256)
    return done


def _prefer(
    data: Path,
    run: RunDirectory,
    model: Model,
    adapters: Adapters,
    tokenizer: Tokenizer,
    settings: AlignSettings,
    sha256: str,
    callbacks: Sequence[Callback],
) -> Aligned:
    items, problems = load_items(data, tokenizer, settings)
    objective, training = settings.objective(), settings.training
    training = training.resolved(model.device)
    micro = training.micro_tokens or training.batch_tokens
    if getattr(objective, "needs_reference", False):
        items = with_references(
            model,
            items,
            stored=run.path / "reference.safetensors",
            base=sha256,
            micro_tokens=micro,
            without=adapters.switched_off(),
        )
    learned, held = hold_out(items, settings)
    sizes = [places(item) for item in learned]
    loader = ShuffledLoader(learned, sizes, batch_tokens=training.batch_tokens, micro_tokens=micro, seed=settings.seed)
    measure = HeldOut(held, [places(item) for item in held], micro_tokens=micro) if held else None
    before = _measures(evaluate_once(model, objective, measure)) if measure is not None else {}
    texts = [text for item in learned for text in item.texts]
    squares = sum(text.places**2 for text in texts)
    trainer = Trainer(
        model,
        objective,
        loader,
        training,
        run,
        evaluate=measure,
        callbacks=callbacks,
        context=squares / max(1, sum(text.places for text in texts)),
        longest=max(sizes),
        about={"method": settings.method, "beta": settings.beta, "base": sha256},
    )
    result = trainer.train()
    after = _measures(evaluate_once(model, objective, measure)) if measure is not None else {}
    return Aligned(result, before, after, len(learned), len(held), problems)


def _measures(found: Mapping[str, float]) -> dict[str, float]:
    """A perplexity of something that is no language model's loss means nothing."""
    return {name: value for name, value in found.items() if name != "perplexity"}


def load_items(data: Path, tokenizer: Tokenizer, settings: AlignSettings) -> tuple[list[Any], list[Problem]]:
    """Pairs, or for KTO single answers, laid out by the model's chat template; what does not fit is a problem."""
    given: Sequence[Any]
    if settings.method == "kto":
        readings = read_judgements(data)
        given, problems = readings.examples, list(readings.problems)
    else:
        pairs = read_preferences(data)
        given, problems = pairs.examples, list(pairs.problems)
    if settings.limit is not None and settings.limit < len(given):
        order = np.random.default_rng(settings.seed).permutation(len(given))[: settings.limit]
        given = [given[number] for number in sorted(order)]
    items: list[Any] = []
    texts: list[Text] = []
    good: list[bool] = []
    for row in given:
        try:
            if isinstance(row, Judgement):
                texts.append(_text(tokenizer, row.prompt, row.answer, settings.context))
                good.append(row.good)
            else:
                items.append(_pair(tokenizer, row, settings.context))
        except LavraError as error:
            problems.append(Problem(row.source, str(error)))
    if settings.method == "kto":
        items = list(judge(texts, good, longest=settings.context))
    if not items:
        raise LavraError(f"no row of {data} fits: {problems[0]}.")
    return items, problems


def _pair(tokenizer: Tokenizer, row: Preference, context: int) -> Pair:
    chosen, rejected = (_text(tokenizer, row.prompt, said, context) for said in (row.chosen, row.rejected))
    return Pair(chosen, rejected, row.margin)


def _text(tokenizer: Tokenizer, prompt: Sequence[Mapping[str, Any]], answer: str, context: int) -> Text:
    messages = [*prompt, {"role": "assistant", "content": answer}]
    labelled = encode_conversation(tokenizer, messages, learn="last")[-1]
    if len(labelled.ids) > context:
        raise LavraError(f"{len(labelled.ids):,} tokens do not fit the context of {context:,}; raise --context")
    return Text(labelled.ids.astype(np.int64), int(np.flatnonzero(labelled.weights > 0)[0]))


def hold_out(items: Sequence[Any], settings: AlignSettings) -> tuple[list[Any], list[Any]]:
    """Items with one prompt stay on one side."""
    count = round(len(items) * settings.validation)
    keys = [tuple(item.texts[0].ids[: item.texts[0].answer].tolist()) for item in items]
    held: set[Any] = set()
    taken = 0
    for number in np.random.default_rng(settings.seed).permutation(len(items)):
        if taken >= count:
            break
        if keys[number] not in held:
            held.add(keys[number])
            taken += keys.count(keys[number])
    learned = [item for item, key in zip(items, keys, strict=True) if key not in held]
    if not learned:
        raise LavraError("nothing is left to learn from; give more rows or a smaller --validation.")
    return learned, [item for item, key in zip(items, keys, strict=True) if key in held]


def _reinforce(
    data: Path,
    run: RunDirectory,
    model: Model,
    adapters: Adapters,
    tokenizer: Tokenizer,
    settings: AlignSettings,
    reward: str | None,
    callbacks: Sequence[Callback],
) -> Aligned:
    if reward is None:
        raise LavraError("GRPO needs what rewards an answer: give --reward file.py:function, or a reward model.")
    readings = read_prompts(data)
    prompts = [Prompt(tuple(tokenizer.encode_chat(asked.prompt)), asked.row) for asked in readings.examples]
    said = {
        prompt.ids: str(asked.prompt[-1]["content"]) for prompt, asked in zip(prompts, readings.examples, strict=True)
    }
    sampling = Sampling(temperature=1.0, max_tokens=settings.answer_tokens)

    def sample(asked: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[list[int]]]:
        drawn = Sampling(temperature=sampling.temperature, max_tokens=sampling.max_tokens, seed=seed)
        return sample_batch(model, asked, drawn, copies=copies, ends=tokenizer.eos_ids)

    def reference(texts: Sequence[Text]) -> Any:
        with adapters.switched_off() if settings.beta else nullcontext():
            return token_scores(model, texts)

    rate = judged_by(reward, model) if Path(reward).is_dir() else _checked_by(reward, tokenizer, said)
    at_once = max(1, settings.batch_tokens // (settings.group * (settings.answer_tokens + max(map(_size, prompts)))))
    loader = Rollouts(
        prompts, sample, rate, at_once=at_once, group=settings.group, seed=settings.seed,
        reference=reference if settings.beta else None,
    )  # fmt: skip
    about = {"method": "grpo", "beta": settings.beta, "reward": reward}
    result = Trainer(
        model, settings.objective(), loader, settings.training, run, callbacks=callbacks, about=about
    ).train()
    seen = [line["reward"] for line in run.lines("metrics") if "reward" in line]
    some = max(1, len(seen) // 10)
    before, after = ({"reward": float(np.mean(part))} for part in (seen[:some], seen[-some:]))
    return Aligned(result, before, after, len(prompts), 0, list(readings.problems))


def _checked_by(reference: str, tokenizer: Tokenizer, said: Mapping[tuple[int, ...], str]) -> Reward:
    """By the user's function."""
    function = load_function(reference)

    def rate(prompt: Prompt, answers: Sequence[Sequence[int]]) -> Sequence[float]:
        return function(said[prompt.ids], [tokenizer.decode(answer) for answer in answers], prompt.row)

    return rate


def judged_by(directory: str, model: Model) -> Reward:
    """By a reward model with the same tokenizer: it reads the ids as they were written."""
    judging = load_model(Path(directory), dtype=model.dtype, device=model.device)
    if judging.config.head != "reward" or judging.config.vocabulary_size != model.config.vocabulary_size:
        raise LavraError(
            f"{directory} is no reward model with the tokenizer of the model that is aligned: make one of the same "
            "model with --method reward."
        )

    def rate(prompt: Prompt, answers: Sequence[Sequence[int]]) -> Sequence[float]:
        return rewards(judging, [Text(np.array([*prompt.ids, *answer]), len(prompt.ids)) for answer in answers])

    return rate


def _size(prompt: Prompt) -> int:
    return len(prompt.ids)


def load_function(reference: str) -> RewardFunction:
    """``file.py:function``: the user's own code, run because they name it."""
    path, _, name = reference.rpartition(":")
    spec = importlib.util.spec_from_file_location("lavra_reward", path) if path else None
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise LavraError(f"{reference} names no function: give file.py:function.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise LavraError(f"{path} has no function {name}: give file.py:function.")
    found: RewardFunction = function
    return found
