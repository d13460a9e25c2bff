"""A loader whose examples are the model's own answers: prompts go out, a function says how good what came back is.

The answers of a step come from the model as it is at that step, so nothing is stored but how far the run has come; a
run that was killed samples the same answers again, for their seed is (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.objectives.answers import Text
from lavra.objectives.grpo import Floats, Rollout, advantages
from lavra.store.files import digest
from lavra.training.loader import MicroBatch

Ids = Sequence[int]
Sample = Callable[[Sequence[Ids], int, int], list[list[list[int]]]]
"""Of prompts, how many answers each, and a seed: the answers' token ids (``inference.batch_sampling``)."""
Reward = Callable[["Prompt", Sequence[Ids]], Sequence[float]]
"""Of a prompt and a group of answers to it: how good each is."""
Score = Callable[[Sequence[Text]], Sequence[Floats]]
"""Log p of the tokens of answers, under some model."""


@dataclass(frozen=True)
class Prompt:
    """``ids``, and the ``row`` it comes from, which may say what the answer should be."""

    ids: tuple[int, ...]
    row: Mapping[str, Any]


class Rollouts:
    """``prompts``, ``at_once`` of them a step in an order of the seed's, ``group`` answers to each.

    ``iterations``: steps that learn from the same answers; from the second on the objective's clip bounds how far they
    go, which needs ``old``, the log p at sampling. ``reference``: log p under the model before training, for a KL.
    ``scaled``: see ``objectives.grpo.advantages``.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        sample: Sample,
        reward: Reward,
        *,
        at_once: int = 8,
        group: int = 8,
        iterations: int = 1,
        seed: int = 0,
        scaled: bool = True,
        old: Score | None = None,
        reference: Score | None = None,
    ) -> None:
        if not prompts:
            raise LavraError("there is no prompt to answer; give at least one")
        if group < 2 or at_once < 1 or iterations < 1:
            raise LavraError("GRPO needs at least 2 answers a prompt, 1 prompt a step and 1 step from each answer")
        if iterations > 1 and old is None:
            raise LavraError("several steps from the same answers need log p of the model that gave them")
        self.prompts, self.at_once, self.group = prompts, min(at_once, len(prompts)), group
        self.iterations, self.seed, self.scaled = iterations, seed, scaled
        self._sample, self._reward, self._old, self._reference = sample, reward, old, reference
        what = [[list(prompt.ids), str(dict(prompt.row))] for prompt in prompts]
        self.fingerprint = digest([what, self.at_once, group, iterations, seed, scaled])
        self._step = 0
        self._held: list[list[Rollout]] = []

    def steps(self, epochs: int) -> int:
        """An epoch asks every prompt once; prompts that do not fill a step wait for the next one."""
        return epochs * (len(self.prompts) // self.at_once) * self.iterations

    def next_step(self, rank: int = 0, ranks: int = 1) -> list[MicroBatch]:
        """A micro-batch a prompt: its group of answers."""
        if self._step % self.iterations == 0 or not self._held:
            self._held = self._roll(rank, ranks)
        self._step += 1
        most = -(-self.at_once // ranks)
        found = [MicroBatch(list(group)) for group in self._held[:most]]
        mine = len(range(rank, self.at_once, ranks))
        return [
            MicroBatch(micro.examples, filler=number >= mine)
            for number, micro in enumerate(found + [found[0]] * (most - len(found)))
        ]

    def state_dict(self) -> dict[str, Any]:
        """Answers are in it while they are in use: the model that gave them is gone."""
        held = [[_plain(rollout) for rollout in group] for group in self._held] if self._mid else []
        return {"step": self._step, "fingerprint": self.fingerprint, "held": held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise LavraError("this run was begun with other prompts or settings of GRPO; begin a new run")
        self._step = int(state["step"])
        self._held = [[_rollout(values) for values in group] for group in state["held"]]

    @property
    def _mid(self) -> bool:
        return self._step % self.iterations != 0

    def _roll(self, rank: int, ranks: int) -> list[list[Rollout]]:
        turn = self._step // self.iterations
        a_round = len(self.prompts) // self.at_once
        order = np.random.default_rng([self.seed, turn // a_round]).permutation(len(self.prompts))
        chosen = order[turn % a_round * self.at_once :][: self.at_once]
        mine = [self.prompts[number] for number in chosen[rank::ranks]] or [self.prompts[chosen[0]]]
        seed = int(np.random.SeedSequence([self.seed, turn, rank]).generate_state(1)[0])
        answers = self._sample([prompt.ids for prompt in mine], self.group, seed)
        return [self._judge(prompt, given) for prompt, given in zip(mine, answers, strict=True)]

    def _judge(self, prompt: Prompt, answers: Sequence[Ids]) -> list[Rollout]:
        rewards = [float(value) for value in self._reward(prompt, answers)]
        if len(rewards) != len(answers):
            raise LavraError(f"the reward function gave {len(rewards)} numbers for {len(answers)} answers")
        better = advantages(rewards, scaled=self.scaled)
        texts = [Text(np.array([*prompt.ids, *answer]), len(prompt.ids)) for answer in answers]
        olds = self._old(texts) if self._old is not None and self.iterations > 1 else [None] * len(texts)
        references = self._reference(texts) if self._reference is not None else [None] * len(texts)
        return [
            Rollout(*values) for values in zip(texts, rewards, better, olds, references, strict=True)
        ]  # fmt: skip


def _plain(rollout: Rollout) -> dict[str, Any]:
    """As JSON; float32 survives the way through Python's floats unchanged."""
    return {
        "ids": rollout.text.ids.tolist(), "answer": rollout.text.answer, "reward": rollout.reward,
        "advantage": rollout.advantage,
        "old": None if rollout.old is None else rollout.old.tolist(),
        "reference": None if rollout.reference is None else rollout.reference.tolist(),
    }  # fmt: skip


def _rollout(values: Mapping[str, Any]) -> Rollout:
    old, reference = (
        None if values[name] is None else np.array(values[name], dtype=np.float32) for name in ("old", "reference")
    )
    text = Text(np.array(values["ids"]), int(values["answer"]))
    return Rollout(text, values["reward"], values["advantage"], old, reference)
