"""``tune_embedder``: texts that belong together get vectors that are near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.workspace.encoders.pairs import gather_pairs, hold_out, pairs_digest
from lavra.workspace.encoders.run import EncoderJob, Figures, Lesson, Tell, Tuned, carry_out, find_base, nobody
from lavra.workspace.encoders.settings import EMBEDDER, EncoderSettings
from lavra.workspace.examples.naming import inputs_of, sets_of, settle
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.corpus.pairs import Pair
    from lavra.model.base import Model
    from lavra.objectives.embeddings import TextTuple, VectorLoss
    from lavra.store import Draft

_CACHED = 16_384
"""Tokens of a batch beyond which its vectors are computed in parts (GradCache)."""


def tune_embedder(
    workspace: Workspace,
    *,
    pairs: Path | None = None,
    questions: Path | None = None,
    loss: str | None = None,
    negatives: int = 0,
    dimensions: Sequence[int] = (),
    settings: EncoderSettings = EMBEDDER,
    roles: Sequence[str] = (),
    progress: Progress = silent,
    tell: Tell = nobody,
) -> Tuned:
    """Tune an embedder on ``pairs`` (a file), or on those that the workspace's documents and ``questions`` give.

    ``loss``: a name of ``objectives.embeddings.LOSSES``; by default CoSENT for graded pairs, else multiple negatives.
    ``negatives``: mined for each pair. ``dimensions``: Matryoshka's. ``roles``: whose documents are learned from
    besides the public ones. A tenth is held out, by document.
    """
    base = find_base(workspace, settings, "encoder")
    pairs = pairs and settle(workspace, pairs, "pairs")
    sets = inputs_of(sets_of(workspace, [pairs]))
    data, notes = gather_pairs(workspace, pairs, questions, roles)
    graded = data[0].score is not None
    name = loss or ("cosent" if graded else "multiple-negatives")
    chosen = _choose_loss(name, graded, dimensions)
    own = {"data": pairs_digest(data), "loss": name, "negatives": negatives, "dimensions": list(dimensions)}

    def load(job: EncoderJob) -> Lesson:
        train, held = hold_out(data, settings.seed)
        if negatives:
            train = _with_negatives(job, train, negatives, progress)
        return _lesson(job, chosen, train, held, graded=graded)

    return carry_out(EncoderJob(workspace, base, "embed", settings, own, load, notes, pairs is None, sets=sets), tell)


def _choose_loss(name: str, graded: bool, dimensions: Sequence[int]) -> VectorLoss:
    """Raises LavraError for one that nobody knows, or that does not go with the data."""
    from lavra.objectives.embeddings import LOSSES, Matryoshka

    if name not in LOSSES or name == "mse":
        raise LavraError(f"there is no loss {name!r}; choose {', '.join(n for n in LOSSES if n != 'mse')}")
    chosen: VectorLoss = LOSSES[name]()
    if chosen.labels == "none" and graded:
        raise LavraError(f"{name} takes no scores; choose cosent or cosine, or give pairs without scores")
    if chosen.labels != "none" and not graded:
        raise LavraError(f"{name} needs pairs with scores or labels; choose multiple-negatives for pairs without")
    return Matryoshka(chosen, tuple(dimensions)) if dimensions else chosen


def _with_negatives(job: EncoderJob, train: list[Pair], count: int, progress: Progress) -> list[Pair]:
    from lavra.inference.embedder import Embedder
    from lavra.retrieval.mining import Mining, mine, near_texts

    embedder = Embedder.load(job.model)
    progress("Mining negatives", 0, len(train))
    found, left = mine(train, embedder, near_texts(embedder, [p.positive for p in train]), Mining(count=count))
    job.notes.append(f"{left} pairs have no {count} negatives far enough from their positive and were left out")
    return found


def _lesson(job: EncoderJob, loss: VectorLoss, train: list[Pair], held: list[Pair], *, graded: bool) -> Lesson:
    from lavra.inference.embedder import read_recipe
    from lavra.inference.embedder_writing import save_embedder
    from lavra.objectives.embeddings import Embedding
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.distinct_loader import DistinctLoader
    from lavra.training.vectors_evaluation import FoundPairs, GradedPairs
    from lavra.workspace.encoders.model import load_trainable, model_card, token_ids

    settings, found = job.settings, job.model
    own, tokenizer = read_recipe(found, 1 << 20), load_tokenizer(found.path)
    model = load_trainable(found, settings)
    window = min(settings.window, own.window, model.config.context_length)
    prompts = [own.prompts.get(role, "") for role in ("query", "query" if graded else "document")]

    def encode(chosen: Sequence[Pair]) -> list[TextTuple]:
        anchors = token_ids(tokenizer, prompts[0], [p.anchor for p in chosen], window)
        others = iter(
            token_ids(tokenizer, prompts[1], [text for p in chosen for text in (p.positive, *p.negatives)], window)
        )
        return [_tuple(anchor, others, pair) for anchor, pair in zip(anchors, chosen, strict=True)]

    examples = encode(train)
    tokens = sum(example.tokens for example in examples) / len(examples)
    objective = Embedding(loss, own.pooling, tokenizer.pad_id or 0, cached=settings.batch * tokens > _CACHED)
    objective.check(examples)
    keys = [frozenset(example.texts) for example in examples] if loss.in_batch else None
    loader = DistinctLoader(examples, batch=min(settings.batch, len(examples)), keys=keys, seed=settings.seed)
    evaluate = (GradedPairs if graded else FoundPairs)(objective, encode(held))

    def save(model: Model, before: Figures, after: Figures, draft: Draft) -> Figures:
        recipe = replace(own, window=min(own.window, model.config.context_length))
        card = model_card(f"{found.name}, tuned to embed", job.recipe, before, after)
        save_embedder(model, tokenizer, recipe, draft.path / "model", licence=found.licence, card=card)
        return after

    watch = "spearman" if graded else "mrr@10"
    return Lesson(model, objective, loader, evaluate, watch, round(tokens * settings.batch), window, save)


def _tuple(anchor: tuple[int, ...], others: Iterator[tuple[int, ...]], pair: Pair) -> TextTuple:
    """``pair`` as token ids; its texts but the anchor are the next of ``others``."""
    from lavra.objectives.embeddings import TextTuple

    return TextTuple((anchor, *islice(others, 1 + len(pair.negatives))), pair.score or 0.0)
