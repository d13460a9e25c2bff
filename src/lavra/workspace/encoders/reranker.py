"""``tune_reranker``: a cross-encoder learns which passage answers a question, among passages that look alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.workspace.encoders.pairs import gather_pairs, hold_out, pairs_digest
from lavra.workspace.encoders.run import EncoderJob, Figures, Lesson, Tell, Tuned, carry_out, find_base, nobody
from lavra.workspace.encoders.settings import RERANKER, EncoderSettings
from lavra.workspace.examples.naming import inputs_of, sets_of, settle
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.corpus.pairs import Pair
    from lavra.model.base import Model
    from lavra.objectives.reranking import Judged
    from lavra.store import Draft
    from lavra.tokens.pairs import PairEncoder


def tune_reranker(
    workspace: Workspace,
    *,
    pairs: Path | None = None,
    questions: Path | None = None,
    negatives: int = 4,
    settings: EncoderSettings = RERANKER,
    roles: Sequence[str] = (),
    progress: Progress = silent,
    tell: Tell = nobody,
) -> Tuned:
    """Tune a cross-encoder on pairs and mined ``negatives``, or on graded pairs, as binary cross entropy.

    The data come as for ``tune_embedder``. What is tuned is called ``reranker`` until another one is.
    """
    base = find_base(workspace, settings, "encoder")
    pairs = pairs and settle(workspace, pairs, "pairs")
    sets = inputs_of(sets_of(workspace, [pairs]))
    data, notes = gather_pairs(workspace, pairs, questions, roles)
    graded = data[0].score is not None

    def load(job: EncoderJob) -> Lesson:
        train, held = hold_out(data, settings.seed)
        if not graded:
            train, held = _with_negatives(job, train, held, negatives, progress)
        return _lesson(job, train, held, graded=graded)

    own = {"data": pairs_digest(data), "negatives": negatives}
    return carry_out(EncoderJob(workspace, base, "rerank", settings, own, load, notes, pairs is None, sets=sets), tell)


def _with_negatives(
    job: EncoderJob, train: list[Pair], held: list[Pair], count: int, progress: Progress
) -> tuple[list[Pair], list[Pair]]:
    """Of all texts of both parts, those that the workspace's embedder finds near a question and that are no answer."""
    from lavra.retrieval.mining import Mining, mine, near_texts

    embedder, mining = job.workspace.embedder, Mining(count=count)
    progress("Mining negatives", 0, len(train) + len(held))
    near = near_texts(embedder, [pair.positive for pair in (*train, *held)])
    train, left = mine([p for p in train if not p.negatives], embedder, near, mining)
    held, _ = mine([p for p in held if not p.negatives], embedder, near, mining)
    job.notes.append(f"{left} pairs have too few negatives and were left out")
    if not train or not held:
        raise LavraError("no negatives could be mined from so few texts; give more pairs, or negatives")
    return train, held


def _lesson(job: EncoderJob, train: list[Pair], held: list[Pair], *, graded: bool) -> Lesson:
    from lavra.model.writing import save_model
    from lavra.objectives.reranking import Reranking
    from lavra.tokens.pairs import PairEncoder
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.training.distinct_loader import DistinctLoader
    from lavra.training.vectors_evaluation import JudgedPairs
    from lavra.workspace.encoders.model import load_trainable, model_card

    settings, found = job.settings, job.model
    tokenizer = load_tokenizer(found.path)
    model = load_trainable(found, settings, labels=("relevance",))
    joined = PairEncoder(tokenizer, min(settings.window, model.config.context_length))
    examples = [_judged(joined, pair) for pair in train]
    tokens = sum(example.tokens for example in examples) / len(examples)
    objective = Reranking("binary", tokenizer.pad_id or 0)
    loader = DistinctLoader(examples, batch=min(settings.batch, len(examples)), seed=settings.seed)
    evaluate = JudgedPairs(objective, [_judged(joined, pair) for pair in held])

    def save(model: Model, before: Figures, after: Figures, draft: Draft) -> Figures:
        card = model_card(f"{found.name}, tuned to rerank", job.recipe, before, after)
        save_model(model, draft.path / "model", tokenizer=tokenizer, licence=found.licence, card=card)
        return after

    watch = "spearman" if graded else "mrr"
    return Lesson(model, objective, loader, evaluate, watch, round(tokens * settings.batch), settings.window, save)


def _judged(joined: PairEncoder, pair: Pair) -> Judged:
    """The question with each of its passages, the right one first."""
    from lavra.objectives.reranking import Judged

    rows = joined.encode([(pair.anchor, text) for text in (pair.positive, *pair.negatives)])
    first = 1.0 if pair.score is None else pair.score
    types = tuple(tuple(kinds) for _, kinds in rows) if any(any(kinds) for _, kinds in rows) else ()
    return Judged(tuple(tuple(ids) for ids, _ in rows), (first, *[0.0] * len(pair.negatives)), types)
