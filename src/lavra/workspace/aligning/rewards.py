"""Who judges what a model writes: a function of the user's, or a reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.hub import resolve
from lavra.model.weights import load_model
from lavra.objectives.answers import Text
from lavra.objectives.reward import rewards
from lavra.store import Artifact
from lavra.store.files import hash_file
from lavra.tokens.tokenizer import Tokenizer
from lavra.training.rollouts import Prompt, Reward
from lavra.workspace.functions import load_function
from lavra.workspace.generators import MODEL, tuned
from lavra.workspace.workspace import Workspace


@dataclass(frozen=True)
class Judge:
    """What ``--reward`` named: a ``function`` (``file.py:function``), or a ``directory`` with a reward model, that of
    ``artifact`` if it was made here. ``version``: a hash of whichever it is."""

    version: str
    function: str | None = None
    directory: Path | None = None
    artifact: Artifact | None = None

    @property
    def recipe(self) -> list[str]:
        return [Path(self.function or self.directory or "").name, self.version]

    def reward(self, model: Model, tokenizer: Tokenizer, asked: Mapping[tuple[int, ...], str]) -> Reward:
        """For answers of ``model``; ``asked``: the prompts as text, by their ids."""
        if self.directory is not None:
            return judged_by(self.directory, model)
        assert self.function is not None
        function = load_function(self.function)

        def rate(prompt: Prompt, answers: Sequence[Sequence[int]]) -> Sequence[float]:
            found: Sequence[float] = function(
                asked[prompt.ids], [tokenizer.decode(answer) for answer in answers], prompt.row
            )
            return found

        return rate


def find_judge(workspace: Workspace, reference: str | None) -> Judge:
    """What ``reference`` names: a reward model of the store, one in a directory, or a function.

    The function's parameters are a prompt as text, the answers to it, and the row that the prompt comes from; it
    returns how good each answer is.
    """
    if reference is None:
        raise LavraError("GRPO needs what rewards an answer: give --reward file.py:function, or a reward model.")
    artifact = tuned(workspace, reference)
    if artifact is not None and (artifact.path / MODEL).is_dir():
        return Judge(artifact.id, directory=artifact.path / MODEL, artifact=artifact)
    if Path(reference).is_dir():
        return Judge(resolve(reference).sha256, directory=Path(reference))
    load_function(reference)  # its faults are said before anything is loaded
    return Judge(hash_file(Path(reference.rpartition(":")[0])), function=reference)


def judged_by(directory: Path, model: Model) -> Reward:
    """By a reward model with the same tokenizer: it reads the ids as they were written."""
    judging = load_model(directory, dtype=model.dtype, device=model.device)
    if judging.config.head != "reward" or judging.config.vocabulary_size != model.config.vocabulary_size:
        raise LavraError(
            f"{directory} is no reward model with the tokenizer of the model that is aligned: make one of the same "
            "model with --method reward."
        )

    def rate(prompt: Prompt, answers: Sequence[Sequence[int]]) -> Sequence[float]:
        return rewards(judging, [Text(np.array([*prompt.ids, *answer]), len(prompt.ids)) for answer in answers])

    return rate
