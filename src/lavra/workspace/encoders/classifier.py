"""``tune_classifier``: texts get labels, with probabilities that can be believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store.files import hash_file
from lavra.workspace.encoders.run import EncoderJob, Figures, Lesson, Tell, Tuned, carry_out, find_base, nobody
from lavra.workspace.encoders.settings import CLASSIFIER, EncoderSettings
from lavra.workspace.examples.naming import inputs_of, sets_of, settle
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.corpus.labelled import Labelled, LabelledFile
    from lavra.model.base import Model
    from lavra.objectives.classification import Classification, LabelledText
    from lavra.store import Draft
    from lavra.tokens.tokenizer import Tokenizer

_KEPT = ("accuracy", "macro_f1", "majority", "ece")
_MICRO = 2048
"""Tokens computed at once, at most."""


def tune_classifier(
    workspace: Workspace,
    data: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    many: bool = False,
    balanced: bool = False,
    label_smoothing: float = 0.0,
    settings: EncoderSettings = CLASSIFIER,
    tell: Tell = nobody,
) -> Tuned:
    """Tune a classifier on a table of texts and labels: 80% are trained on, 10% choose the best step and the
    temperature, 10% are looked at once, in the end.

    ``many``: any number of labels a text; ``balanced``: rare labels weigh as much as common ones.
    """
    from lavra.corpus.labelled import read_labelled
    from lavra.corpus.tables import describe

    base = find_base(workspace, settings, "encoder", "decoder")
    data = settle(workspace, data, "classes")
    file = read_labelled(data, text=text, label=label, many=many)
    notes = [f"refused {len(file.refused)} rows: {describe(file.refused)}"] if file.refused else []
    own = {
        "data": hash_file(data), "text": text, "label": label, "many": many, "balanced": balanced,
        "label_smoothing": label_smoothing, "labels": list(file.labels),
    }  # fmt: skip
    sets = inputs_of(sets_of(workspace, [data]))
    job = EncoderJob(workspace, base, "classify", settings, own, lambda job: _lesson(job, file), notes, sets=sets)
    return carry_out(job, tell)


def _lesson(job: EncoderJob, file: LabelledFile) -> Lesson:
    from lavra.corpus.labelled import split_examples
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.loader import ShuffledLoader
    from lavra.workspace.encoders.calibration import calibrate
    from lavra.workspace.encoders.classes import Classes
    from lavra.workspace.encoders.model import load_trainable

    settings, tokenizer = job.settings, load_tokenizer(job.model.path)
    model = load_trainable(job.model, settings, labels=file.labels)
    window = min(settings.window, model.config.context_length)
    parts = [
        _encode(part, file.labels, tokenizer, window) for part in split_examples(file.examples, seed=settings.seed)
    ]
    if not all(parts):
        raise LavraError("all texts are of one or two documents, so none can be held out; give more documents")
    train, choosing, test = parts
    objective = _objective(job, train, tokenizer.pad_id or 0)
    tokens = round(sum(example.tokens for example in train) / len(train) * settings.batch)
    loader = ShuffledLoader(
        train, [example.tokens for example in train], batch_tokens=tokens, micro_tokens=min(_MICRO, 2 * tokens),
        seed=settings.seed,
    )  # fmt: skip

    def save(model: Model, before: Figures, after: Figures, draft: Draft) -> Figures:
        report = calibrate(model, objective, choosing, test, file.labels, draft.path)
        _save(job, model, tokenizer, before, report["test"], draft)
        return {name: report["test"][name] for name in _KEPT}

    evaluate = Classes(objective, choosing, file.labels)
    return Lesson(model, objective, loader, evaluate, "macro_f1", tokens, window, save, evaluations=2)


def _encode(
    examples: Sequence[Labelled], labels: Sequence[str], tokenizer: Tokenizer, window: int
) -> list[LabelledText]:
    from lavra.objectives.classification import LabelledText
    from lavra.workspace.encoders.model import token_ids

    number = {name: index for index, name in enumerate(labels)}
    rows = token_ids(tokenizer, "", [example.text for example in examples], window)
    return [
        LabelledText(ids, tuple(number[name] for name in example.labels))
        for ids, example in zip(rows, examples, strict=True)
    ]


def _objective(job: EncoderJob, train: Sequence[LabelledText], pad_id: int) -> Classification:
    from lavra.objectives.classification import Classification, balanced_weights

    labels, many = len(job.own["labels"]), bool(job.own["many"])
    weights: tuple[float, ...] = ()
    if job.own["balanced"]:
        counts = [sum(index in example.labels for example in train) for index in range(labels)]
        weights = tuple((len(train) - c) / c for c in counts) if many else balanced_weights(counts)
    return Classification(labels, pad_id, many, job.own["label_smoothing"], weights)


def _save(
    job: EncoderJob, model: Model, tokenizer: Tokenizer, before: Figures, test: dict[str, Any], draft: Draft
) -> None:
    """The model, whose ``config.json`` says whether a text has one label or many, as transformers has it."""
    from lavra.model.writing import replacing, save_model
    from lavra.workspace.encoders.model import model_card

    with replacing(draft.path / "model", False) as made:
        card = model_card(f"{job.model.name}, tuned to classify", job.recipe, before, test)
        save_model(model, made, tokenizer=tokenizer, licence=job.model.licence, card=card)
        config = json.loads((made / "config.json").read_text("utf-8"))
        kind = "multi_label_classification" if job.own["many"] else "single_label_classification"
        text = json.dumps({**config, "problem_type": kind}, indent=2, ensure_ascii=False) + "\n"
        (made / "config.json").write_text(text, "utf-8")
