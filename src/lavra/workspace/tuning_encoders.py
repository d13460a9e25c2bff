"""Tuning what reads: an embedder on pairs, a reranker on questions with passages, a classifier on labelled texts.

Each run lies in ``.lavra/runs`` while it lasts, so that the same command continues it; what comes of it is a ``model``
artifact with the base model and the corpus in its pedigree: ``model/`` (for sentence-transformers or transformers as
it is), ``report.md`` and the curves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.files import digest, hash_file
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.corpus.labelled import Labelled
    from lavra.corpus.pairs import Pair
    from lavra.model.base import Model
    from lavra.model.hub import ResolvedModel
    from lavra.tokens.tokenizer import Tokenizer
    from lavra.training.callbacks import Callback, Result
    from lavra.training.evaluation import Evaluate
    from lavra.training.loader import Loader

HELD_OUT = 0.1
MOST_HELD_OUT = 500
FEWEST_TO_CALIBRATE = 50
"""Texts below which a temperature would be fitted to chance; then it stays 1."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """``model``: what is tuned; none: the workspace's embedder. ``batch``: examples a step. ``window``: tokens of a
    text that are read while training. ``rank``: of a LoRA adapter that is merged in the end; 0: all weights.
    ``train_embeddings``: token embeddings too; they stay as they are by default, for the words that the data lacks."""

    model: str | None = None
    epochs: int = 1
    batch: int = 64
    learning_rate: float = 2e-5
    warmup: float = 0.1
    window: int = 256
    rank: int = 0
    train_embeddings: bool = False
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("window", 8), ("rank", 0), ("patience", 0)):
            if getattr(self, name) < least:
                raise LavraError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class Tuned:
    """``before`` and ``after``: measured on what was held out; ``notes``: what was refused or left out."""

    artifact: Artifact
    path: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    notes: Sequence[str] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


# ── embedders ────────────────────────────────────────────────────────────────────────────────────────────────────


def tune_embedder(
    workspace: Workspace,
    *,
    pairs: Path | None = None,
    questions: Path | None = None,
    loss: str | None = None,
    negatives: int = 0,
    dimensions: Sequence[int] = (),
    settings: EncoderSettings | None = None,
    roles: Sequence[str] = (),
    progress: Progress = silent,
    callbacks: Sequence[Callback] = (),
) -> Tuned:
    """Tune an embedder on ``pairs`` (a file), or on those that the workspace's documents and ``questions`` give.

    ``loss``: a name of ``objectives.embeddings.LOSSES``; by default CoSENT for graded pairs, else multiple negatives.
    ``negatives``: mined for each pair. ``dimensions``: Matryoshka's. ``roles``: whose documents are learned from
    besides the public ones. A tenth is held out, by document.
    """
    from lavra.inference.embedder import Embedder, read_recipe
    from lavra.inference.embedder_writing import save_embedder
    from lavra.model.weights import load_model
    from lavra.objectives.embeddings import LOSSES, Embedding, Matryoshka, TextTuple, VectorLoss
    from lavra.retrieval.mining import Mining, mine, near_texts
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.distinct_loader import DistinctLoader
    from lavra.training.vectors_evaluation import FoundPairs, GradedPairs

    settings = settings or EncoderSettings()
    found = _base(workspace, settings, "encoder")
    data, notes = gather_pairs(workspace, pairs, questions, roles)
    graded = data[0].score is not None
    name = loss or ("cosent" if graded else "multiple-negatives")
    if name not in LOSSES or name == "mse":
        raise LavraError(f"there is no loss {name!r}; choose {', '.join(n for n in LOSSES if n != 'mse')}")
    chosen: VectorLoss = LOSSES[name]()
    if chosen.labels == "none" and graded:
        raise LavraError(f"{name} takes no scores; choose cosent or cosine, or give pairs without scores")
    if chosen.labels != "none" and not graded:
        raise LavraError(f"{name} needs pairs with scores or labels; choose multiple-negatives for pairs without")
    if dimensions:
        chosen = Matryoshka(chosen, tuple(dimensions))
    recipe = {
        "task": "embed", "format": FORMAT, "data": _digest(data), "loss": name, "negatives": negatives,
        "dimensions": list(dimensions), **_recipe(settings),
    }  # fmt: skip
    inputs = _inputs(workspace, found, with_corpus=pairs is None)
    outcome: dict[str, Any] = {}

    def build(draft: Draft) -> None:
        own = read_recipe(found, 1 << 20)
        tokenizer = load_tokenizer(found.path)
        train, held = hold_out(data, settings.seed)
        if negatives:
            embedder = Embedder.load(found)
            progress("Mining negatives", 0, len(train))
            train, left = mine(
                train, embedder, near_texts(embedder, [pair.positive for pair in train]), Mining(count=negatives)
            )
            notes.append(f"{left} pairs have no {negatives} negatives far enough from their positive and were left out")
        model = _trainable(load_model(found.path, dtype=_dtype()), found, settings)
        window = min(settings.window, own.window, model.config.context_length)
        recipe_read = replace(own, window=min(own.window, model.config.context_length))
        roles = ("query", "query") if graded else ("query", "document")

        def encode(chosen_pairs: Sequence[Pair]) -> list[TextTuple]:
            anchors = _ids(tokenizer, own.prompts.get(roles[0], ""), [p.anchor for p in chosen_pairs], window)
            others = _ids(
                tokenizer,
                own.prompts.get(roles[1], ""),
                [text for p in chosen_pairs for text in (p.positive, *p.negatives)],
                window,
            )
            rest, at = [], 0
            for pair in chosen_pairs:
                rest.append(others[at : at + 1 + len(pair.negatives)])
                at += 1 + len(pair.negatives)
            return [TextTuple((a, *r), p.score or 0.0) for a, r, p in zip(anchors, rest, chosen_pairs, strict=True)]

        examples = encode(train)
        tokens = sum(example.tokens for example in examples) / len(examples)
        objective = Embedding(chosen, own.pooling, tokenizer.pad_id or 0, cached=settings.batch * tokens > 16_384)
        objective.check(examples)
        keys = [frozenset(example.texts) for example in examples] if chosen.in_batch else None
        loader = DistinctLoader(examples, batch=min(settings.batch, len(examples)), keys=keys, seed=settings.seed)
        held_examples = encode(held)
        evaluate = (GradedPairs if graded else FoundPairs)(objective, held_examples)
        watch = "spearman" if graded else "mrr@10"
        before, result = _train(
            workspace, draft, recipe, model, objective, loader, evaluate, settings, callbacks, watch=watch,
            tokens=round(tokens * settings.batch), longest=window, about={"task": "embed", "base": found.name},
        )  # fmt: skip
        model = _merged(model)
        save_embedder(
            model, tokenizer, recipe_read, draft.path / "model", licence=found.licence,
            card=_card(f"{found.name}, tuned to embed", recipe, before, result.metrics),
        )  # fmt: skip
        outcome.update(before=before, after=dict(result.metrics))
        _finish(draft, workspace, found, outcome, notes)

    return _make(workspace, inputs, recipe, build, outcome, notes)


def gather_pairs(
    workspace: Workspace, pairs: Path | None, questions: Path | None, roles: Sequence[str] = ()
) -> tuple[list[Pair], list[str]]:
    """The pairs of a file, or of the workspace's documents and a file of questions; and what was refused.

    Of documents that everybody may read, and those that one of ``roles`` may: a model is for all who use it.
    """
    from lavra.corpus.document import PUBLIC
    from lavra.corpus.ingest import load_documents
    from lavra.corpus.pairs import document_pairs, question_pairs, read_pairs, unit_scores
    from lavra.corpus.tables import describe

    if pairs is not None:
        file = read_pairs(pairs)
        notes = [f"refused {len(file.refused)} rows: {describe(file.refused)}"] if file.refused else []
        return unit_scores(file.pairs), notes
    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to make pairs of: run `lavra ingest FOLDER`, or give a file of pairs.")
    readable = {PUBLIC, *roles}
    documents = [document for document in load_documents(corpus.path) if readable & set(document.roles)]
    found = document_pairs(documents)
    notes = []
    if questions is not None:
        asked = question_pairs(questions, documents)
        if asked.refused:
            notes.append(f"refused {len(asked.refused)} questions: {describe(asked.refused)}")
        found += asked.pairs
    if len(found) < 20:
        raise LavraError(
            f"the documents give only {len(found)} pairs, too few to tune with: ingest more, or give questions"
        )
    return found, notes


def hold_out(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """What is trained on, and a tenth (at most 500) that is not, no document and no text on both sides."""
    groups: dict[str, list[Pair]] = {}
    owner: dict[str, str] = {}
    for pair in pairs:  # pairs that share a text or a document belong together
        names = [pair.source and f"\0{pair.source}", pair.anchor, pair.positive]
        mine = {owner[name] for name in names if name and name in owner}
        key = min(mine, default=names[0] or names[1])
        members = [pair]
        for other in mine - {key}:
            members += groups.pop(other)
        groups.setdefault(key, []).extend(members)
        for member in members:
            for name in (member.source and f"\0{member.source}", member.anchor, member.positive):
                if name:
                    owner[name] = key
    wanted = min(MOST_HELD_OUT, round(HELD_OUT * len(pairs)))
    train: list[Pair] = []
    held: list[Pair] = []
    for key in sorted(groups, key=lambda k: sha256(f"{seed}\0{k}".encode()).hexdigest()):
        fits = len(held) + len(groups[key]) <= max(wanted, 1) or (not held and len(groups[key]) < len(pairs) // 3)
        (held if len(held) < wanted and fits else train).extend(groups[key])
    if not held or not train:
        raise LavraError("all pairs are of one document, so none can be held out; give pairs of several documents")
    return train, held


# ── rerankers ────────────────────────────────────────────────────────────────────────────────────────────────────


def tune_reranker(
    workspace: Workspace,
    *,
    pairs: Path | None = None,
    questions: Path | None = None,
    negatives: int = 4,
    settings: EncoderSettings | None = None,
    roles: Sequence[str] = (),
    progress: Progress = silent,
    callbacks: Sequence[Callback] = (),
) -> Tuned:
    """Tune a cross-encoder on pairs and mined ``negatives``, or on graded pairs, as binary cross entropy."""
    from lavra.inference.embedder import Embedder
    from lavra.model.new_head import with_head
    from lavra.model.weights import load_model
    from lavra.model.writing import save_model
    from lavra.objectives.reranking import Judged, Reranking
    from lavra.retrieval.mining import Mining, mine, near_texts
    from lavra.tokens.pairs import PairEncoder
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.distinct_loader import DistinctLoader
    from lavra.training.vectors_evaluation import JudgedPairs

    settings = settings or EncoderSettings(batch=16)
    found = _base(workspace, settings, "encoder")
    data, notes = gather_pairs(workspace, pairs, questions, roles)
    graded = data[0].score is not None
    recipe = {
        "task": "rerank", "format": FORMAT, "data": _digest(data), "negatives": negatives, **_recipe(settings),
    }  # fmt: skip
    inputs = _inputs(workspace, found, with_corpus=pairs is None)
    outcome: dict[str, Any] = {}

    def build(draft: Draft) -> None:
        train, held = hold_out(data, settings.seed)
        if not graded:
            embedder = Embedder.load(workspace._resolved(workspace.settings.models.embedder))
            progress("Mining negatives", 0, len(data))
            near = near_texts(embedder, [pair.positive for pair in data])
            mining = Mining(count=negatives)
            train, left = mine([p for p in train if not p.negatives], embedder, near, mining)
            held, _ = mine([p for p in held if not p.negatives], embedder, near, mining)
            notes.append(f"{left} pairs have too few negatives and were left out")
            if not train or not held:
                raise LavraError("no negatives could be mined from so few texts; give more pairs, or negatives")
        tokenizer = load_tokenizer(found.path)
        model = with_head(load_model(found.path, dtype=_dtype()), "sequence", ("relevance",), seed=settings.seed)
        model = _trainable(model, found, settings)
        joined = PairEncoder(tokenizer, min(settings.window, model.config.context_length))

        def encode(chosen: Sequence[Pair]) -> list[Judged]:
            made = []
            for pair in chosen:
                rows = joined.encode([(pair.anchor, text) for text in (pair.positive, *pair.negatives)])
                first = 1.0 if pair.score is None else pair.score
                types = tuple(tuple(kinds) for _, kinds in rows) if any(any(k) for _, k in rows) else ()
                made.append(Judged(tuple(tuple(r) for r, _ in rows), (first, *[0.0] * len(pair.negatives)), types))
            return made

        examples = encode(train)
        tokens = sum(example.tokens for example in examples) / len(examples)
        objective = Reranking("binary", tokenizer.pad_id or 0)
        loader = DistinctLoader(examples, batch=min(settings.batch, len(examples)), seed=settings.seed)
        watch = "spearman" if graded else "mrr"
        before, result = _train(
            workspace, draft, recipe, model, objective, loader, JudgedPairs(objective, encode(held)), settings,
            callbacks, watch=watch, tokens=round(tokens * settings.batch), longest=settings.window,
            about={"task": "rerank", "base": found.name},
        )  # fmt: skip
        model = _merged(model)
        card = _card(f"{found.name}, tuned to rerank", recipe, before, result.metrics)
        save_model(model, draft.path / "model", tokenizer=tokenizer, licence=found.licence, card=card)
        outcome.update(before=before, after=dict(result.metrics))
        _finish(draft, workspace, found, outcome, notes)

    return _make(workspace, inputs, recipe, build, outcome, notes)


# ── classifiers ──────────────────────────────────────────────────────────────────────────────────────────────────


def tune_classifier(
    workspace: Workspace,
    data: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    many: bool = False,
    balanced: bool = False,
    label_smoothing: float = 0.0,
    settings: EncoderSettings | None = None,
    callbacks: Sequence[Callback] = (),
) -> Tuned:
    """Tune a classifier on a table of texts and labels: 80% are trained on, 10% choose the best step and the
    temperature, 10% are looked at once, in the end.

    ``many``: any number of labels a text; ``balanced``: rare labels weigh as much as common ones.
    """
    from lavra.corpus.labelled import read_labelled, split_examples
    from lavra.corpus.tables import describe
    from lavra.inference.classifier import within
    from lavra.model.new_head import with_head
    from lavra.model.weights import load_model
    from lavra.model.writing import replacing, save_model
    from lavra.objectives.classification import Classification, LabelledText, balanced_weights
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.loader import ShuffledLoader

    settings = settings or EncoderSettings(epochs=3, batch=32, learning_rate=5e-5, window=128, patience=3)
    found = _base(workspace, settings, "encoder", "decoder")
    file = read_labelled(data, text=text, label=label, many=many)
    notes = [f"refused {len(file.refused)} rows: {describe(file.refused)}"] if file.refused else []
    names = file.labels
    recipe = {
        "task": "classify", "format": FORMAT, "data": hash_file(data), "text": text, "label": label, "many": many,
        "balanced": balanced, "label_smoothing": label_smoothing, "labels": list(names), **_recipe(settings),
    }  # fmt: skip
    outcome: dict[str, Any] = {}

    def build(draft: Draft) -> None:
        tokenizer = load_tokenizer(found.path)
        model = with_head(load_model(found.path, dtype=_dtype()), "sequence", names, seed=settings.seed)
        model = _trainable(model, found, settings)
        window = min(settings.window, model.config.context_length)
        number = {name: index for index, name in enumerate(names)}

        def encode(examples: Sequence[Labelled]) -> list[LabelledText]:
            rows = tokenizer.encode_batch([example.text for example in examples])
            return [
                LabelledText(tuple(within(ids, window)), tuple(number[name] for name in example.labels))
                for ids, example in zip(rows, examples, strict=True)
            ]

        parts = [encode(part) for part in split_examples(file.examples, seed=settings.seed)]
        train, choosing, test = parts
        if not all(parts):
            raise LavraError("all texts are of one or two documents, so none can be held out; give more documents")
        weights: tuple[float, ...] = ()
        if balanced:
            counts = [sum(index in example.labels for example in train) for index in range(len(names))]
            weights = tuple((len(train) - c) / c for c in counts) if many else balanced_weights(counts)
        objective = Classification(len(names), tokenizer.pad_id or 0, many, label_smoothing, weights)
        mean = sum(example.tokens for example in train) / len(train)
        loader = ShuffledLoader(
            train, [example.tokens for example in train], batch_tokens=round(mean * settings.batch),
            micro_tokens=min(2048, round(2 * mean * settings.batch)), seed=settings.seed,
        )  # fmt: skip
        evaluate = Classes(objective, choosing, names)
        before, _ = _train(
            workspace, draft, recipe, model, objective, loader, evaluate, settings, callbacks, watch="macro_f1",
            tokens=round(mean * settings.batch), longest=window, evaluations=2,
            about={"task": "classify", "base": found.name, "labels": ", ".join(names)},
        )  # fmt: skip
        model = _merged(model).eval()
        report = _calibrated(model, objective, choosing, test, names, draft.path)
        with replacing(draft.path / "model", False) as made:
            card = _card(f"{found.name}, tuned to classify", recipe, before, report["test"])
            save_model(model, made, tokenizer=tokenizer, licence=found.licence, card=card)
            config = json.loads((made / "config.json").read_text("utf-8"))
            kind = "multi_label_classification" if many else "single_label_classification"
            text_of = json.dumps({**config, "problem_type": kind}, indent=2, ensure_ascii=False) + "\n"
            (made / "config.json").write_text(text_of, "utf-8")
        after = {name: report["test"][name] for name in ("accuracy", "macro_f1", "majority", "ece")}
        outcome.update(before=before, after=after, report=report)
        _finish(draft, workspace, found, outcome, notes)

    return _make(workspace, _inputs(workspace, found, with_corpus=False), recipe, build, outcome, notes)


class Classes:
    """Loss, accuracy and macro-F1 of held-out texts, for the loop."""

    def __init__(self, objective: Any, examples: Sequence[Any], labels: Sequence[str]) -> None:
        self.objective, self.examples, self.labels = objective, examples, labels

    def __call__(self, forward: Any) -> dict[str, float]:
        from lavra.training.classes import judge, judge_many

        logits, truth = predict(forward.model, self.objective, self.examples)
        if self.objective.many:
            report = judge_many(1 / (1 + _exp(-logits)), truth, self.labels)
        else:
            report = judge(_softmax(logits), truth, self.labels)
        return {"accuracy": report.accuracy, "macro_f1": report.macro_f1}


def predict(model: Model, objective: Any, examples: Sequence[Any]) -> tuple[Any, Any]:
    """Logits (N, labels) and what is true, (N,) or (N, labels) of zeros and ones, as float64 and integers."""
    import numpy as np
    import torch

    from lavra.objectives.classification import scores
    from lavra.objectives.padding import group_by_length

    logits = np.empty((len(examples), len(model.config.labels)))
    truth: Any = np.empty(logits.shape if objective.many else len(examples), dtype=np.int64)
    with torch.no_grad():
        for group in group_by_length([example.tokens for example in examples]):
            batch = objective.collate([examples[index] for index in group]).to(model.device)
            logits[group] = scores(model, batch).cpu().numpy()
            truth[group] = batch.extra["labels"].cpu().numpy()
    return logits, truth


def _calibrated(
    model: Model, objective: Any, choosing: Sequence[Any], test: Sequence[Any], names: Sequence[str], draft: Path
) -> dict[str, Any]:
    """Put the temperature into the classifier's own weights, so that whoever loads the model has it; the report."""
    import numpy as np
    import torch

    from lavra.training.classes import fit_temperature, judge, judge_many, reliability, reliability_diagram

    many = objective.many
    enough = len(choosing) >= FEWEST_TO_CALIBRATE
    temperature = fit_temperature(*predict(model, objective, choosing), many=many) if enough else 1.0
    logits, truth = predict(model, objective, test)

    def believed(z: Any) -> Any:
        return 1 / (1 + _exp(-z)) if many else _softmax(z)

    def points(p: Any) -> list[tuple[float, float, int]]:
        if many:
            given = p >= 0.5
            return reliability(np.where(given, p, 1 - p).ravel(), (given == (truth > 0.5)).ravel())
        return reliability(p.max(1), p.argmax(1) == truth)

    raw, calm = believed(logits), believed(logits / temperature)
    assess = judge_many if many else judge
    before, after = assess(raw, truth, names), assess(calm, truth, names)
    (draft / "reliability.svg").write_text(reliability_diagram(points(raw), points(calm)), "utf-8")
    head = model.head.classifier
    assert head is not None
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.float() / temperature)
    report = {"temperature": temperature, "ece_before": before.ece, "test": after.as_json(), "many": many}
    (draft / "classes.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), "utf-8")
    (draft / "classes.md").write_text(classes_page(report), "utf-8")
    return report


def classes_page(report: Mapping[str, Any]) -> str:
    """The report as Markdown: figures, a line a label, and what was taken for what."""
    test, labels = report["test"], report["test"]["labels"]
    lines = [
        f"Of {test['count']} texts that were held out: accuracy {test['accuracy']:.3f} (always the commonest answer: "
        f"{test['majority']:.3f}), macro-F1 {test['macro_f1']:.3f}.",
        "",
        _calibration_said(report),
        "",
        "| label | precision | recall | F1 |",
        "|---|---|---|---|",
    ]
    for index, name in enumerate(labels):
        figures = (test[key][index] for key in ("precision", "recall", "f1"))
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in figures) + " |")
    heads = ["right", "missed", "wrongly given", "rightly not"] if report["many"] else [f"→ {n}" for n in labels]
    lines += ["", "| true ↓ | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    lines += [f"| {n} | " + " | ".join(map(str, row)) + " |" for n, row in zip(labels, test["confusion"], strict=True)]
    return "\n".join(lines) + "\n"


def _calibration_said(report: Mapping[str, Any]) -> str:
    after = float(report["test"]["ece"])
    if report["temperature"] == 1.0:
        return (
            f"Not calibrated (that takes {FEWEST_TO_CALIBRATE} held-out texts): its confidence is off by {after:.3f} "
            "on average."
        )
    return (
        f"Calibration: the expected error of its confidence was {report['ece_before']:.3f} and is {after:.3f} with "
        f"temperature {report['temperature']:.2f}, which is part of the model."
    )


def _softmax(z: Any) -> Any:
    e = _exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _exp(z: Any) -> Any:
    import numpy as np

    return np.exp(np.clip(z, -700, 700))


# ── what all three share ─────────────────────────────────────────────────────────────────────────────────────────


def _base(workspace: Workspace, settings: EncoderSettings, *kinds: str) -> ResolvedModel:
    from lavra.model.known import KIND_WORDS

    found = workspace._resolved(settings.model or workspace.settings.models.embedder)
    if found.kind not in kinds:
        raise LavraError(f"the model {found.name} is {KIND_WORDS[found.kind]}; choose one that can be tuned for this")
    return found


def _dtype() -> Any:
    from lavra.model.precision import compute_dtype

    return compute_dtype()


def _trainable(model: Model, found: ResolvedModel, settings: EncoderSettings) -> Model:
    """All weights but the token embeddings, or an adapter and the head."""
    from lavra.model.adapters import AdapterConfig, attach
    from lavra.model.weights import open_model

    if settings.rank:
        family = open_model(found.path)[0]
        model.adapters = attach(  # type: ignore[assignment]
            model, AdapterConfig(rank=settings.rank, alpha=2.0 * settings.rank), family, seed=settings.seed
        )
        model.head.requires_grad_(True)
        return model
    model.requires_grad_(True)
    if not settings.train_embeddings and model.embedding is not None:
        model.embedding.requires_grad_(False)
    return model


def _merged(model: Model) -> Model:
    adapters = model.__dict__.pop("adapters", None)
    return adapters.merge() if adapters is not None else model


def _ids(tokenizer: Tokenizer, prompt: str, texts: Sequence[str], window: int) -> list[tuple[int, ...]]:
    from lavra.inference.classifier import within

    return [tuple(within(ids, window)) for ids in tokenizer.encode_batch([prompt + text for text in texts])]


def _recipe(settings: EncoderSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "model"}


def _digest(pairs: Iterable[Pair]) -> str:
    return digest([[p.anchor, p.positive, list(p.negatives), p.score] for p in pairs])


def _inputs(workspace: Workspace, found: ResolvedModel, *, with_corpus: bool) -> dict[str, str]:
    inputs = {"base": workspace._model_artifact(found).id}
    corpus = workspace.corpus() if with_corpus else None
    return inputs | ({"corpus": corpus.id} if corpus is not None else {})


def _train(
    workspace: Workspace,
    draft: Draft,
    recipe: Mapping[str, Any],
    model: Model,
    objective: Any,
    loader: Loader,
    evaluate: Evaluate,
    settings: EncoderSettings,
    callbacks: Sequence[Callback],
    *,
    watch: str,
    tokens: int,
    longest: int,
    about: Mapping[str, Any],
    evaluations: int = 1,
) -> tuple[dict[str, float], Result]:
    """The run: evaluated before, ``evaluations`` times an epoch, and in the end; the best weights are in the model."""
    import torch

    from lavra.training.forward import Forward
    from lavra.training.loop import Trainer
    from lavra.training.report import Report
    from lavra.training.run import RunDirectory
    from lavra.training.settings import TrainSettings

    model.eval()
    with torch.no_grad():
        before = dict(evaluate(Forward(model, objective)))
    run = RunDirectory(workspace.store.root / "runs" / f"{recipe['task']}-{digest([recipe, dict(about)])[:16]}")
    train = TrainSettings(
        epochs=settings.epochs, batch_tokens=max(tokens, 1), micro_tokens=max(tokens, 1),
        learning_rate=settings.learning_rate, warmup=settings.warmup, schedule="linear", seed=settings.seed,
        betas=(0.9, 0.999), watch=watch, higher_is_better=True, patience=settings.patience, spike=0.0,
        evaluate_every=max(1, loader.steps(1) // evaluations),
    )  # fmt: skip
    trainer = Trainer(
        model, objective, loader, train, run, evaluate=evaluate, longest=longest, about=about,
        callbacks=[*callbacks, Report(run, f"Tuning: {about['task']}")],
    )  # fmt: skip
    result = trainer.train()
    if result.stopped in ("interrupted", "diverged"):
        raise LavraError(result.message)
    for name in ("metrics.jsonl", "evaluations.jsonl", "events.jsonl", "report.md", "report.html", "loss.svg"):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, draft.path / name)
    shutil.rmtree(run.path, ignore_errors=True)
    model.eval()
    return before, result


def _card(title: str, recipe: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    figures = [
        f"| {name} | {before.get(name, float('nan')):.3f} | {value:.3f} |"
        for name, value in after.items()
        if isinstance(value, float)
    ]
    table = ["| held out | before | after |", "|---|---|---|", *figures]
    said = ["```json", json.dumps(dict(recipe), indent=2, ensure_ascii=False), "```"]
    return "\n".join(["", f"# {title}", "", *table, "", "Made by Lavra, with this recipe:", "", *said, ""])


def _finish(
    draft: Draft, workspace: Workspace, found: ResolvedModel, outcome: Mapping[str, Any], notes: Sequence[str]
) -> None:
    corpus = workspace.corpus()
    draft.licences.append(found.licence)
    draft.licences.extend(corpus.manifest.licences if corpus is not None else ())
    draft.metrics.update(before=outcome["before"], after=outcome["after"], notes=list(notes))


def _make(
    workspace: Workspace,
    inputs: Mapping[str, str],
    recipe: Mapping[str, Any],
    build: Callable[[Draft], None],
    outcome: Mapping[str, Any],
    notes: Sequence[str],
) -> Tuned:
    artifact = workspace.store.make("model", inputs, recipe, build)
    task = str(recipe["task"])
    workspace.store.set_ref({"embed": "embedder", "rerank": "reranker", "classify": "classifier"}[task], artifact.id)
    metrics = artifact.manifest.metrics
    page = artifact.path / "classes.json"
    report = json.loads(page.read_text("utf-8")) if page.is_file() else {}
    return Tuned(artifact, artifact.path / "model", metrics["before"], metrics["after"], metrics["notes"], report)
