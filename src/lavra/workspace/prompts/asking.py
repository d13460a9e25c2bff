"""``lavra ask --prompt``: the assistant with another prompt than the workspace's, or the model without documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavra.corpus.language import detect_language
from lavra.workspace.prompts.improving import find
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.assistants.assistant import Assistant
    from lavra.assistants.prompted import Prompted


def assistant_with(workspace: Workspace, prompt: str) -> Assistant | Prompted:
    """By ``prompt``, a name or a file. Raises LavraError where there is none, or no index where it wants documents."""
    template, kind = find(workspace, prompt)
    if kind == "grounded":
        answer = workspace.settings.answer.model_copy(update={"prompt": prompt})
        settings = workspace.settings.model_copy(update={"answer": answer})
        return Workspace(workspace.root, settings, adapters=workspace.adapters).assistant()
    from lavra.assistants.examples import of_template
    from lavra.assistants.prompted import Prompted
    from lavra.assistants.voices import Local
    from lavra.workspace.answering import answer_settings

    languages = workspace.settings.documents.languages
    return Prompted(
        workspace.name,
        Local(workspace.engine),
        template,
        answer_settings(workspace.settings.answer).sampling,
        language=lambda text: detect_language(text, languages, min_letters=4),
        examples=of_template(template, workspace.embedder) if template.examples.pairs else lambda question: (),
    )
