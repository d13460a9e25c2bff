"""The workspace's assistant, from its settings: model, index, prompt and decoding, and the artifact that names them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from lavra.assistants.assistant import AnswerSettings, Assistant
from lavra.assistants.examples import of_template
from lavra.corpus.language import detect_language
from lavra.inference.sampler import validate
from lavra.inference.sampling import Sampling
from lavra.prompting import PromptTemplate, load_template
from lavra.store import Artifact, Draft

if TYPE_CHECKING:
    from lavra.workspace.settings import AnswerSection
    from lavra.workspace.workspace import Workspace


def make_assistant(workspace: Workspace) -> Assistant:
    """With model and index loaded, recorded in the store. Raises LavraError where there is nothing to answer from, or
    a setting names what is no such thing."""
    index = workspace.ready()
    answering, prompt = answer_settings(workspace.settings.answer), find_prompt(workspace)
    languages = workspace.settings.documents.languages
    artifact = _record(workspace, index, answering, prompt)
    if workspace.live_index.reranking is not None:
        workspace.live_index.reranking.bring()  # so that a model that is none is said before anybody asks
    workspace.store.set_ref("assistant", artifact.id)
    return Assistant(
        workspace.name,
        workspace.engine,
        workspace.live_index,
        prompt,
        answering,
        language=lambda text: detect_language(text, languages, min_letters=4),
        locate=workspace._locate,
        examples=of_template(prompt, workspace.live_index.embedder),
    )


def answer_settings(section: AnswerSection) -> AnswerSettings:
    """``[answer]`` of ``lavra.toml``, as an assistant has it."""
    sampling = Sampling(
        temperature=section.temperature,
        top_k=section.top_k,
        top_p=section.top_p,
        min_p=section.min_p,
        repetition_penalty=section.repetition_penalty,
        max_tokens=section.max_tokens,
        seed=section.seed,
    )
    validate(sampling)
    return AnswerSettings(
        passages=section.passages,
        read=section.read,
        threshold=section.threshold,
        grounding=section.grounding,
        sampling=sampling,
    )


def find_prompt(workspace: Workspace) -> PromptTemplate:
    """A known one, or a file beside ``lavra.toml``."""
    name = workspace.settings.answer.prompt
    return load_template(str(workspace.root / name) if name.endswith(".toml") else name)


def _record(workspace: Workspace, index: Artifact, answering: AnswerSettings, prompt: PromptTemplate) -> Artifact:
    """The receipt: what the assistant is made of, and how it answers."""

    def build_prompt(draft: Draft) -> None:
        more = {"examples": asdict(prompt.examples)} if prompt.examples.pairs else {}
        text = json.dumps({**prompt.texts, **more}, indent=2, ensure_ascii=False)
        (draft.path / "prompt.json").write_text(text, encoding="utf-8")

    writer, reranker = workspace.generator, workspace.reranker
    described = {"name": prompt.name, "version": prompt.version, "hash": prompt.hash}
    inputs = {
        "index": index.id,
        "model": (writer.artifact or workspace._model_artifact(writer.model)).id,
        "prompt": workspace.store.make("prompt", {}, described, build_prompt).id,
    }
    recipe = asdict(answering)
    if reranker is not None:
        search = workspace.settings.search
        inputs["reranker"] = (reranker.artifact or workspace._model_artifact(reranker.model)).id
        recipe["search"] = {"candidates": search.candidates, "share": search.share}

    def build(draft: Draft) -> None:
        (draft.path / "assistant.json").write_text(json.dumps(recipe, indent=2))

    return workspace.store.make("assistant", inputs, recipe, build)
