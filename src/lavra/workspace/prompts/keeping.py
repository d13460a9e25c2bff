"""An improved prompt as a file of the workspace, and as the one that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from lavra.errors import LavraError
from lavra.prompting import PromptTemplate
from lavra.store.files import write_atomically
from lavra.workspace.prompts.linting import FOLDER
from lavra.workspace.settings import NAME

if TYPE_CHECKING:
    from lavra.workspace.prompts.improving import Improved
    from lavra.workspace.workspace import Workspace


def keep(workspace: Workspace, improved: Improved) -> Path:
    """Write ``prompts/NAME-VERSION.toml``, and name it in ``lavra.toml`` where it is the assistant's.

    Raises:
        LavraError: where it is no better than chance allows.
    """
    from lavra.workspace.prompts.improving import improved_template

    if not improved.gained:
        raise LavraError(
            "nothing was kept: the best prompt found is no better on the test's questions than chance allows; give "
            "more questions, or other --instructions."
        )
    template = improved_template(improved)
    while (path := workspace.root / FOLDER / f"{template.name}-{template.version}.toml").exists():
        template = PromptTemplate(
            template.name, template.version + 1, template.techniques, template.texts, template.examples
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, as_toml(template, _said(improved)).encode())
    if improved.trial.kind == "grounded":
        _use(workspace.root / NAME, f"{FOLDER}/{path.name}")
    return path


def _said(improved: Improved) -> str:
    difference = improved.difference
    return (
        f"Made by `lavra prompts improve`: {improved.measure} {improved.best.mean:.3f} on {improved.best.count} "
        f"questions it was not searched on,\n# {improved.present.mean:.3f} before; difference {difference.mean:+.3f}, "
        f"95% {difference.low:+.3f} to {difference.high:+.3f}."
    )


def as_toml(template: PromptTemplate, comment: str) -> str:
    """The file."""
    document: dict[str, Any] = {
        "name": template.name,
        "version": template.version,
        "techniques": list(template.techniques),
        **{language: dict(entry) for language, entry in template.texts.items()},
    }
    shown = template.examples
    if shown.pairs:
        document["examples"] = {"shown": shown.shown, "choice": shown.choice, "order": shown.order}
        document["examples"]["pairs"] = [list(pair) for pair in shown.pairs]
    return f"# {comment}\n{tomlkit.dumps(document)}"


def _use(settings: Path, prompt: str) -> None:
    """``[answer] prompt``, with all else as it stands."""
    document = tomlkit.parse(settings.read_text(encoding="utf-8"))
    if "answer" not in document:
        document["answer"] = tomlkit.table()
    document["answer"]["prompt"] = prompt
    write_atomically(settings, tomlkit.dumps(document).encode())
