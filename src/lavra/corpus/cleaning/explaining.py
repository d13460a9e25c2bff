"""For one document, what every stage says and does: the answer to "why is this file not in the corpus?"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lavra.corpus.cleaning.batch import treat
from lavra.corpus.cleaning.deciding import Facts, paragraphs_kept, surprising
from lavra.corpus.cleaning.perplexity import Score
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.document import Document
from lavra.corpus.opting_out import opted_out


def explained(
    document: Document, others: Sequence[Document], settings: Cleaning, score: Score | None = None
) -> list[tuple[str, str]]:
    """``(stage, sentence)`` in the stages' order; ``others``: documents among which duplicates are looked for;
    ``score``: what reads for the stage ``perplexity``."""
    import pyarrow as pa

    from lavra.corpus.cleaning.engine import engine
    from lavra.corpus.storage import schema

    engine()  # says what to install
    span_type = schema().field("spans").type
    spans = [
        [{"kind": s.kind, "start": s.start, "end": s.end, "label": s.label, "level": s.level} for s in document.spans]
    ]
    watched = None
    if settings.has("contamination") and settings.evaluation_sets:
        from lavra.corpus.cleaning.run import watched_sets

        watched = watched_sets(settings)
    done = treat(
        pa.array([document.text]),
        pa.array(spans, span_type),
        pa.array([document.format]),
        pa.array([document.language]),
        settings,
        watched,
    ).to_pylist()[0]
    said: list[tuple[str, str]] = []
    if settings.has("licence"):
        licence = document.licence or "none"
        verdict = "may be trained on" if settings.may_train(document.licence) else "may NOT be trained on: dropped"
        if settings.opt_outs == "drop" and (signal := opted_out(document.metadata)):
            verdict = f"its owner has opted out of training ({signal}): dropped"
        said.append(("licence", f"{licence}: {verdict}"))
    if settings.has("normalise"):
        changes = ", ".join(f"{name} {times} ×" for name, times in done["changes"]) or "nothing to mend"
        said.append(("normalise", changes))
    if settings.has("language"):
        short = done["language"] == "und" and not done["confidence"]
        other = done["language"] == "und" and done["confidence"] > 0 and settings.other_languages == "drop"
        name = "too short to tell" if short else f"{done['language']}, confidence {done['confidence']:.2f}"
        said.append(("language", name + (": dropped" if other else "")))
    if settings.has("quality"):
        broken = f"breaks {', '.join(done['broken'])}: dropped" if done["broken"] else "breaks no rule"
        said.append(("quality", broken))
    if settings.has("personal"):
        found = ", ".join(f"{count} {kind}" for kind, count in done["personal"])
        what = {"replace": "replaced", "drop": "dropped", "report": "reported"}[settings.personal]
        said.append(("personal", f"{found}: {what}" if found else "nothing found"))
    if settings.has("exact"):
        same = [other.source for other in others if other.hash == document.hash and other.source != document.source]
        said.append(("exact", f"the same text as {same[0]}" if same else "no other document has this text"))
    if settings.has("near"):
        said.append(("near", _nearest(replace(document, text=done["text"]), others, settings)))
    if settings.has("contamination"):
        held = f"holds {done['overlapped']}" if done["overlapped"] else "holds no evaluation item"
        said.append(("contamination", held if watched is not None else "no evaluation sets are set"))
    if settings.has("perplexity") and score is not None:
        said.append(("perplexity", _surprise(done["text"], settings, score)))
    if settings.has("paragraphs"):
        said.append(("paragraphs", _paragraphs(replace(document, text=done["text"]), others, settings)))
    return said


def _nearest(document: Document, others: Sequence[Document], settings: Cleaning) -> str:
    import pyarrow as pa

    from lavra.corpus.duplicates.shingles import jaccard, shingle_sets
    from lavra.corpus.quality.batch import buffers

    near = [other for other in others if other.source != document.source]
    if not near:
        return "there is no other document"
    offsets, data = buffers(pa.array([document.text, *(other.text for other in near)], pa.large_string()))
    flat, ends = shingle_sets(offsets, data, np.arange(len(near) + 1), settings.shingle_words)
    similarity = jaccard(flat, ends, np.zeros(len(near), np.int64), np.arange(1, len(near) + 1))
    best = int(similarity.argmax())
    close = "a near-duplicate" if similarity[best] >= settings.similarity else "no near-duplicate"
    return f"{close}; the nearest is {near[best].source} ({similarity[best]:.0%} alike)"


def _surprise(text: str, settings: Cleaning, score: Score) -> str:
    """Its bits per byte, and what is decided without the other documents."""
    bits = float(score([text])[0])
    if np.isnan(bits):
        return "there is nothing to read"
    least, most = settings.perplexity_least, settings.perplexity_most
    drawn = (-np.inf if least is None else least, np.inf if most is None else most)
    if not drawn[0] <= bits <= drawn[1]:
        return f"{surprising(bits, drawn)}: dropped"
    low, high = settings.perplexity_percentiles
    among = "" if (low, high) == (0, 100) else f"; stays if among the {low:g} to {high:g} % of its language"
    return f"{bits:.2f} bits per byte{among}"


def _paragraphs(document: Document, others: Sequence[Document], settings: Cleaning) -> str:
    """Which of its paragraphs go, if all the others stay."""
    import pyarrow as pa

    from lavra.corpus.duplicates.paragraphs import paragraphs
    from lavra.corpus.quality.batch import buffers

    # In the corpus' order, where it stands there: the first of equals keeps what they share.
    all_of = [document if other.source == document.source else other for other in others]
    if document not in all_of:
        all_of.append(document)
    row = all_of.index(document)
    offsets, data = buffers(pa.array([each.text for each in all_of], pa.large_string()))
    hashes, sizes, _, _, ends = paragraphs(offsets, data, words=settings.paragraph_words)
    count = len(all_of)
    facts = Facts(
        sources=[each.source for each in all_of],
        licences=[each.licence for each in all_of],
        languages=[each.language for each in all_of],
        confidences=np.ones(count, np.float32),
        broken=[[] for _ in all_of],
        personal=np.zeros(count, np.int64),
        hashes=[b"" for _ in all_of],
        roles=[tuple(sorted(each.roles)) for each in all_of],
        keys=np.zeros((count, 0), np.uint64),
        overlapped=[None] * count,
        characters=np.diff(offsets),
        modified=[each.modified for each in all_of],
        sizes=np.diff(offsets),
        paragraphs=hashes,
        paragraph_sizes=sizes,
        paragraph_ends=ends,
    )
    kept_by, thin = paragraphs_kept(facts, settings, np.ones(count, bool))
    here = slice(ends[row], ends[row + 1])
    goes = kept_by[here] >= 0
    if not goes.any():
        return f"none of its {len(goes)} paragraphs is kept by another document"
    share = sizes[here][goes].sum() / facts.sizes[row]
    first = facts.sources[kept_by[here][goes][0]]
    done = "too little would stay: dropped" if thin[row] else "taken out"
    return f"{goes.sum()} of {len(goes)} paragraphs ({share:.0%} of it) are kept by others, such as {first}: {done}"
