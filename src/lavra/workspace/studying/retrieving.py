"""The way that looks things up: the workspace's own assistant, as ``lavra ask`` and ``lavra serve`` have it."""

from __future__ import annotations

from typing import Any

from lavra.errors import LavraError
from lavra.workspace.studying.asking import model_artifact
from lavra.workspace.studying.way import Built, Given
from lavra.workspace.workspace import Workspace

READING: dict[str, Any] = {"passages": None, "read": None, "threshold": None, "grounding": None, "prompt": None}
"""Settings of ``[answer]`` that a study may vary; None is what ``lavra.toml`` says."""


def rag(given: Given) -> Built:
    """The index's passages in the prompt, the answer's sentences checked against them."""
    return over_index(given, "rag")


def over_index(given: Given, way: str) -> Built:
    """The workspace's assistant with the model of ``given`` and what its settings change."""
    workspace = answering(given)
    receipt = workspace.ready()
    generator = workspace.generator
    return Built(
        lambda: assistant(given, workspace),
        {
            "way": way,
            "index": receipt.id,
            "model": generator.model.sha256,
            "tuned": generator.artifact.id if generator.artifact is not None else "",
            "answer": workspace.settings.answer.model_dump(),
        },
        uses={"index": receipt.id, "model": model_artifact(given)},
    )


def answering(given: Given) -> Workspace:
    """The workspace with the study's ``[answer]``: how it reads by the way's settings, how it writes by the study's."""
    from pydantic import ValidationError

    from lavra.workspace.settings import AnswerSection, describe

    assert given.sampling is not None
    sampling = given.sampling
    section = given.workspace.settings.answer
    changed = {name: given.settings[name] for name in READING if given.settings.get(name) is not None}
    writing = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, "seed": sampling.seed}
    try:
        section = AnswerSection.model_validate({**section.model_dump(), **writing, **changed})
    except ValidationError as error:
        raise LavraError(f"a setting of the way is wrong: {describe(error)}") from error
    settings = given.workspace.settings.model_copy(update={"answer": section})
    return Workspace(given.workspace.root, settings)


def assistant(given: Given, workspace: Workspace) -> Any:
    """The workspace's assistant. The store goes on calling the one before the workspace's: a study tries things out."""
    before = workspace.store.ref("assistant")
    try:
        return given.desk.lend(workspace, given.model).assistant()
    finally:
        del workspace.__dict__["engine"]  # the assistant has it, and takes it along when it goes
        if before is not None:
            workspace.store.set_ref("assistant", before)
