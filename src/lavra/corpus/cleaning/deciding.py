"""Who stays: what the stages said about each document, and who is whose duplicate, into one decision a document.

N documents. A document is dropped by the first stage that objects, in the order of `settings.STAGES`; duplicates are
looked for among those that nothing else drops, so that no copy is lost to one that does not stay itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.cleaning.perplexity import limits
from lavra.corpus.cleaning.settings import STAGES, Cleaning

Fetch = Callable[[NDArray[np.int64]], tuple[NDArray[np.uint32], NDArray[np.int64]]]
"""Gives the shingle sets of some documents, by row: `shingles.shingle_sets` over wherever their texts lie."""
Read = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Gives the bits per byte of some documents, by row: `perplexity.scored`."""


@dataclass(frozen=True)
class Facts:
    """What is known of N documents besides their texts."""

    sources: list[str]
    licences: list[str | None]
    languages: list[str]
    confidences: NDArray[np.float32]
    broken: list[list[str]]
    personal: NDArray[np.int64]
    """Finds of personal data."""
    hashes: list[bytes]
    """SHA-256 of the texts."""
    roles: list[tuple[str, ...]]
    keys: NDArray[np.uint64]
    """(N, bands)."""
    overlapped: list[str | None]
    characters: NDArray[np.int64]
    modified: list[str | None]
    opted_out: list[str | None] = field(default_factory=list)
    """The opt-out that each document carries; empty where nobody looked."""
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(N,) bytes of the texts as they would be written; ``characters`` are those of the texts as they were read."""
    paragraphs: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """(P,) hashes of all paragraphs, document by document; none where nobody looked."""
    paragraph_sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(P,) bytes of each."""
    paragraph_ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    """(N + 1,) where each document's begin."""

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Old:
    """M documents of other corpora, which stay where they are: a new document that is like one of them goes."""

    sources: list[str]
    """With the corpus: ``<corpus>:<source>``."""
    roles: list[tuple[str, ...]]
    keys: NDArray[np.uint64]
    """(M, bands)."""


@dataclass(frozen=True)
class Decision:
    """What becomes of N documents."""

    stage: list[str]
    """The stage that drops each; empty where it stays."""
    reason: list[str]
    """Why, in one sentence."""
    clusters: dict[str, list[str]] = field(default_factory=dict)
    """Sources of the near-duplicates of each document that stays for a cluster."""
    cut: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    """(P,) paragraphs that go from documents that stay, because another document keeps them."""
    bits: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(N,) bits per byte to the model that was asked, NaN where nobody asked it."""

    @property
    def stays(self) -> NDArray[np.bool_]:
        return np.array([not stage for stage in self.stage], bool)


def decide(
    facts: Facts, settings: Cleaning, fetch: Fetch, old: Old | None = None, read: Read | None = None
) -> Decision:
    """The decision on every document. Rows of ``fetch`` from N on are ``old``'s; ``read`` is asked of what stays."""
    stage, reason = [""] * len(facts), [""] * len(facts)

    def drop(rows: Sequence[int], name: str, why: Callable[[int], str]) -> None:
        for row in rows:
            if not stage[row]:
                stage[row], reason[row] = name, why(row)

    everyone = range(len(facts))
    if settings.has("licence"):
        drop(
            [row for row in everyone if not settings.may_train(facts.licences[row])],
            "licence",
            lambda row: (
                f"its licence, {facts.licences[row]}, is not one that may be trained on"
                if facts.licences[row]
                else "it states no licence"
            ),
        )
        if settings.opt_outs == "drop":
            drop(
                [row for row, signal in enumerate(facts.opted_out) if signal],
                "licence",
                lambda row: f"its owner has opted out of training ({facts.opted_out[row]})",
            )
    if settings.has("language") and settings.other_languages == "drop":
        others = [row for row in everyone if facts.languages[row] == "und" and facts.confidences[row] > 0]
        drop(others, "language", lambda row: f"it is in none of {', '.join(settings.languages)}")
    if settings.has("quality"):
        drop(
            [row for row in everyone if facts.broken[row]],
            "quality",
            lambda row: f"it breaks {', '.join(facts.broken[row])}",
        )
    if settings.has("personal") and settings.personal == "drop":
        drop(np.flatnonzero(facts.personal).tolist(), "personal", lambda row: "it holds personal data")
    held = np.array([item is not None for item in facts.overlapped], bool)
    if not (settings.has("contamination") and settings.contaminated == "drop"):
        held[:] = False
    if settings.has("exact"):
        same = _same(facts, settings, ~held & np.array([not name for name in stage], bool))
        drop(sorted(same), "exact", lambda row: f"it has the same text as {facts.sources[same[row]]}")
    clusters: dict[str, list[str]] = {}
    if settings.has("near"):
        chosen, similarity = _near(facts, settings, fetch, ~held & np.array([not name for name in stage], bool), old)
        sources = [*facts.sources, *(old.sources if old else ())]
        drop(
            list(chosen),
            "near",
            lambda row: f"it is {similarity[row]} like {sources[chosen[row]]}, which stays",
        )
        for row, kept in sorted(chosen.items()):
            clusters.setdefault(sources[kept], []).append(facts.sources[row])
    contaminated = np.flatnonzero(held).tolist()
    drop(contaminated, "contamination", lambda row: f"it holds the evaluation item {facts.overlapped[row]}")
    bits = np.full(len(facts), np.nan)
    if settings.has("perplexity") and read is not None:
        rows = np.array([row for row in everyone if not stage[row]], np.int64)
        bits[rows] = read(rows)
        drawn = limits(bits, facts.languages, settings)
        low, high = (np.array([drawn[language][side] for language in facts.languages]) for side in (0, 1))
        outside = np.flatnonzero((bits < low) | (bits > high))
        drop(outside.tolist(), "perplexity", lambda row: surprising(float(bits[row]), drawn[facts.languages[row]]))
    cut = np.zeros(len(facts.paragraphs), bool)
    if settings.has("paragraphs"):
        open_ = np.array([not name for name in stage], bool)
        kept_by, thin = paragraphs_kept(facts, settings, open_)
        drop(np.flatnonzero(thin).tolist(), "paragraphs", lambda row: _thin(facts, kept_by, row))
        cut = (kept_by >= 0) & np.repeat(open_ & ~thin, np.diff(facts.paragraph_ends))
    assert set(filter(None, stage)) <= set(STAGES)
    return Decision(stage, reason, clusters, cut, bits)


def _same(facts: Facts, settings: Cleaning, open_: NDArray[np.bool_]) -> dict[int, int]:
    """Which document stays for each one that goes because its text is the same."""
    order = in_order(_preference(facts, settings)[:-1], len(facts))  # of equal texts none is the longest
    first: dict[tuple[bytes, tuple[str, ...]], int] = {}
    same = {}
    for row in order[open_[order]].tolist():
        known = first.setdefault((facts.hashes[row], facts.roles[row]), row)
        if known != row:
            same[row] = known
    return same


def surprising(bits: float, drawn: tuple[float, float]) -> str:
    """Why a document goes whose bits per byte lie outside of the limits."""
    if bits > drawn[1]:
        return f"it has {bits:.2f} bits per byte, more than {drawn[1]:.2f}"
    return f"it has {bits:.2f} bits per byte, less than {drawn[0]:.2f}"


def paragraphs_kept(
    facts: Facts, settings: Cleaning, open_: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """`paragraphs.kept_elsewhere` among the documents that nothing else drops, by the settings' preference."""
    from lavra.corpus.duplicates.paragraphs import kept_elsewhere

    numbers: dict[tuple[str, ...], int] = {}
    readers = np.array([numbers.setdefault(roles, len(numbers)) for roles in facts.roles], np.int64)
    order = in_order(_preference(facts, settings), len(facts))
    return kept_elsewhere(
        facts.paragraphs,
        facts.paragraph_sizes,
        facts.paragraph_ends,
        readers,
        facts.sizes,
        order[open_[order]],
        settings.paragraph_left,
    )


def _thin(facts: Facts, kept_by: NDArray[np.int64], row: int) -> str:
    """Why a document goes of which too little would stay."""
    here = slice(facts.paragraph_ends[row], facts.paragraph_ends[row + 1])
    owners, sizes = kept_by[here], facts.paragraph_sizes[here]
    lost = int(sizes[owners >= 0].sum())
    most = int(np.bincount(owners[owners >= 0], sizes[owners >= 0]).argmax())
    return f"{lost / facts.sizes[row]:.0%} of it stands in other documents, most in {facts.sources[most]}"


def in_order(preference: Sequence[NDArray[np.float64]], count: int) -> NDArray[np.int64]:
    """(N,) rows, the preferred first; equal ones as they come."""
    order: NDArray[np.int64] = np.lexsort((np.arange(count), *(-column for column in reversed(preference))))
    return order


def _near(
    facts: Facts, settings: Cleaning, fetch: Fetch, open_: NDArray[np.bool_], old: Old | None
) -> tuple[dict[int, int], dict[int, str]]:
    """Which document stays for each near-duplicate that goes, and how alike the two are (or that it is by others).

    Documents of ``old`` are rows from N on; they always stay, and are not compared with each other."""
    from lavra.corpus.duplicates.clusters import components, find_candidates, keepers
    from lavra.corpus.duplicates.shingles import jaccard

    new, all_roles, keys = len(facts), facts.roles, facts.keys
    if old is not None:
        open_ = np.concatenate([open_, np.ones(len(old.sources), bool)])
        all_roles, keys = [*facts.roles, *old.roles], np.concatenate([facts.keys, old.keys])
    rows = np.flatnonzero(open_)
    pairs = rows[find_candidates(keys[rows])]
    pairs = pairs[pairs[:, 0] < new]
    wanted = np.unique(pairs)
    flat, ends = fetch(wanted)
    similarity = jaccard(flat, ends, np.searchsorted(wanted, pairs[:, 0]), np.searchsorted(wanted, pairs[:, 1]))
    # Documents for different readers are different documents: neither may vanish from its readers' sight.
    readers = np.array([all_roles[a] == all_roles[b] for a, b in pairs.tolist()], bool)
    alike = (similarity >= settings.similarity) & readers
    labels = components(len(keys), pairs[alike])
    none = np.zeros(len(keys) - new)
    older = np.concatenate([np.zeros(new), none + 1])
    stays = keepers(labels, [older, *(np.concatenate([column, none]) for column in _preference(facts, settings))])
    keeper = np.full(len(keys), -1, np.int64)
    keeper[labels[stays]] = np.flatnonzero(stays)
    known = {(int(a), int(b)): float(s) for (a, b), s in zip(pairs.tolist(), similarity, strict=True)}
    gone = {int(row): int(keeper[labels[row]]) for row in np.flatnonzero(open_ & ~stays) if row < new}
    said = {}
    for row, kept in gone.items():
        value = known.get((min(row, kept), max(row, kept)))
        said[row] = f"{value:.0%}" if value is not None and value >= settings.similarity else "by way of others"
    return gone, said


def _preference(facts: Facts, settings: Cleaning) -> list[NDArray[np.float64]]:
    length = facts.characters.astype(np.float64)
    if settings.keep == "newest":
        order = {date: rank for rank, date in enumerate(sorted({date or "" for date in facts.modified}))}
        return [np.array([order[date or ""] for date in facts.modified], np.float64), length]
    if settings.keep == "licence":
        return [np.array([licence is not None for licence in facts.licences], np.float64), length]
    return [length]
