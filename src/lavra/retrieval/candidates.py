"""The candidates of a question: what either search found, each with what both searches think of it.

A passage found by one search alone still gets the other's score, so that the fusion compares like with like and never
has to guess what a missing rank means: its cosine from the stored vector; its BM25 from the search by words, which
scores far more passages than it proposes, and for one that shares a word and is not among those from a look-up.

Both searches give row ids alone, and the rows are read once, with all that is shown of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lavra.retrieval.record import Record
from lavra.retrieval.sentences import best_cosines
from lavra.retrieval.snapshot import Snapshot

if TYPE_CHECKING:
    import numpy as np

DEPTH = 50
"""Rows taken from each search."""

SCORED = 5_000
"""Rows whose BM25 is asked for. Beyond the first ``DEPTH`` they serve the other search's rows: 86% of questions at
100,000 chunks need no second look-up (20% at 50), and 5,000 scores take as long as 50."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the searches found, as the fusion sees it."""

    record: Record
    bm25: float
    cosine: float
    sentence: float
    """The cosine of the nearest of its sentences."""
    lexical_rank: int | None
    """From 1 in the order of BM25; None if that search did not find it."""
    dense_rank: int | None

    @property
    def chunk_id(self) -> str:
        return self.record.chunk_id

    @property
    def document_id(self) -> str:
        return self.record.document_id

    @property
    def analysed(self) -> str:
        """The passage's stems, joined by spaces."""
        return self.record.analysed

    def seen(self) -> dict[str, float]:
        """Its scores and ranks by name, for explanation."""
        ranks = {"lexical_rank": self.lexical_rank, "dense_rank": self.dense_rank}
        known = {name: float(rank) for name, rank in ranks.items() if rank is not None}
        return {"bm25": self.bm25, "cosine": self.cosine, "sentence": self.sentence, **known}


def find_candidates(
    snapshot: Snapshot, stems: str, vector: np.ndarray, where: str, *, depth: int = DEPTH
) -> list[Candidate]:
    """The candidates for a question, by the order of the searches that found them.

    ``stems``: the question's, joined by spaces; ``vector``: (dimension,) its embedding, L2-normalised; ``where``:
    the reader's rights.
    """
    import numpy as np

    scored_ids, scores = snapshot.lexical(stems, where, SCORED)
    lexical_ids = scored_ids[:depth].tolist()
    near_ids = snapshot.nearest(vector, where, depth).tolist()
    ids = list(dict.fromkeys(lexical_ids + near_ids))
    records, vectors = snapshot.rows(ids)
    cosine = vectors @ vector
    sentence = best_cosines([record.sentences for record in records], vector, cosine)

    # The rows that a search found, as places among ``ids``.
    place_of = {row_id: place for place, row_id in enumerate(ids)}
    near = np.array(sorted(place_of[row_id] for row_id in near_ids), dtype=int)
    dense = near[np.argsort(-cosine[near], kind="stable")[:depth]].tolist()
    dense_rank = {place: rank for rank, place in enumerate(dense, 1)}
    found = list(range(len(lexical_ids))) + [place for place in dense if place >= len(lexical_ids)]

    bm25 = dict(zip(scored_ids.tolist(), scores.tolist(), strict=True))
    if len(scored_ids) == SCORED:
        asked = set(stems.split())
        unscored = [place for place in found if ids[place] not in bm25]
        sharing = [place for place in unscored if not asked.isdisjoint(records[place].analysed.split())]
        bm25 |= snapshot.bm25(stems, [ids[place] for place in sharing])

    return [
        Candidate(
            record=records[place],
            bm25=bm25.get(ids[place], 0.0),
            cosine=cosine[place].item(),
            sentence=sentence[place].item(),
            lexical_rank=place + 1 if place < len(lexical_ids) else None,
            dense_rank=dense_rank.get(place),
        )
        for place in found
    ]
