"""What is doubtful in a set: suggestions, the surest first, and how many there are of each signal. Nothing is changed.

Of texts with labels: confident learning, and texts that are nearly the same and have other labels. Of instructions and
preferences: the signals of ``signals.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lavra.corpus.labels.confident import Method, find_wrong
from lavra.corpus.labels.entry import Entry
from lavra.corpus.labels.predicting import out_of_fold, told_apart
from lavra.corpus.labels.repeats import alike
from lavra.corpus.labels.settings import Taking
from lavra.corpus.labels.signals import SIGNALS, longer_chosen
from lavra.corpus.labels.suggestions import Suggestion, id_of, shown
from lavra.errors import LavraError

_TOLD = 0.75
"""Area under the ROC curve below which a label among several is not judged: where models cannot tell it, nearly all of
its few texts would be doubted (of ToLD-Br's six, racism, with 32 texts of 20,714, has .57)."""


@dataclass
class Checked:
    """``noise``: the share of wrong labels by the estimated joint, which is too high where a class has few rows (its
    threshold is low then); ``accuracy``: of the models that judged the labels, on rows that they had not seen, against
    the labels as given; ``notes``: what was not looked at, and why."""

    rows: int
    suggestions: list[Suggestion]
    noise: float | None = None
    accuracy: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(one.signal for one in self.suggestions).most_common())


@dataclass(frozen=True)
class _Judges:
    """How labels are judged; ``vectors``: of the texts, (N, D)."""

    method: Method
    folds: int
    seed: int
    vectors: np.ndarray | None

    def believe(self, entries: Sequence[Entry], rows: Sequence[int], given: np.ndarray) -> np.ndarray:
        """(rows, K) probabilities out of fold."""
        chosen = [entries[row] for row in rows]
        texts, documents = [entry.asked for entry in chosen], [entry.document for entry in chosen]
        vectors = None if self.vectors is None else self.vectors[list(rows)]
        return out_of_fold(texts, given, documents, vectors=vectors, folds=self.folds, seed=self.seed)


def check(
    entries: Sequence[Entry],
    *,
    method: Method = "both",
    folds: int = 5,
    seed: int = 0,
    vectors: np.ndarray | None = None,
) -> Checked:
    """The suggestions on a set. ``vectors``: (N, D) of what the rows ask, where labels are to be judged by meaning too.

    Raises LavraError where labels are too few to be judged, or a library is missing.
    """
    if not entries:
        raise LavraError("the set has no row that could be checked.")
    if entries[0].kind == "pairs":
        raise LavraError("the set is of pairs, in which nothing can be doubted yet: no label, no answer.")
    if entries[0].kind != "classes":
        return _answers(entries)
    checked, judges = Checked(len(entries), []), _Judges(method, folds, seed, vectors)
    if "labels" in entries[0].row:
        _several_labels(entries, checked, judges)
    else:
        _one_label(entries, checked, judges)
    checked.suggestions.sort(key=lambda one: (one.margin or 0.0, one.row))
    checked.suggestions += _twins(entries)
    return checked


def _answers(entries: Sequence[Entry]) -> Checked:
    checked = Checked(len(entries), [])
    for signal, look in SIGNALS.items():
        for row, why in look(entries):
            entry = entries[row]
            checked.suggestions.append(Suggestion(row + 1, id_of(entry), signal, why=why, text=shown(entry)))
    if (share := longer_chosen(entries)) is not None:
        checked.notes.append(f"the chosen answer is the longer one in {share:.0%} of the pairs")
    return checked


def _one_label(entries: Sequence[Entry], checked: Checked, judges: _Judges) -> None:
    counts, folds = Counter(entry.said for entry in entries), judges.folds
    rare = sorted(label for label, count in counts.items() if count < folds)
    judged = [row for row, entry in enumerate(entries) if entry.said not in rare]
    names = sorted(counts.keys() - set(rare))
    if len(names) < 2:
        raise LavraError(f"fewer than two labels have {folds} texts or more, so that none can be judged: give more.")
    if rare:
        checked.notes.append(f"not judged, with fewer than {folds} texts each: {', '.join(rare)}")
    number = {name: at for at, name in enumerate(names)}
    given = np.array([number[entries[row].said] for row in judged], np.int64)
    believed = judges.believe(entries, judged, given)
    found = find_wrong(given, believed, judges.method)
    checked.noise, checked.accuracy = found.noise, float((believed.argmax(1) == given).mean())
    for at in np.flatnonzero(found.wrong).tolist():
        suggested = int(found.suggested[at])
        checked.suggestions.append(
            _label(entries, judged[at], names[suggested], float(believed[at, suggested]), float(found.margin[at]))
        )


def _several_labels(entries: Sequence[Entry], checked: Checked, judges: _Judges) -> None:
    """Each label is a question of its own: has the text it, or not?"""
    noise, accuracy = [], []
    for name in sorted({label for entry in entries for label in entry.labels}):
        given = np.array([name in entry.labels for entry in entries], np.int64)
        if min(given.sum(), len(given) - given.sum()) < judges.folds:
            checked.notes.append(f"not judged, on fewer than {judges.folds} texts or on nearly all: {name}")
            continue
        believed = judges.believe(entries, range(len(entries)), given)
        if (told := told_apart(given, believed)) < _TOLD:
            checked.notes.append(
                f"not judged, because models that have not seen a text hardly tell it: {name} ({told:.2f})"
            )
            continue
        found = find_wrong(given, believed, judges.method)
        noise.append(found.noise)
        accuracy.append(float((believed.argmax(1) == given).mean()))
        for row in np.flatnonzero(found.wrong).tolist():
            sign = "-" if given[row] else "+"
            sure = float(believed[row, 1 - given[row]])
            checked.suggestions.append(_label(entries, row, sign + name, sure, float(found.margin[row])))
    if noise:
        checked.noise, checked.accuracy = float(np.mean(noise)), float(np.mean(accuracy))


def _label(entries: Sequence[Entry], row: int, suggested: str, confidence: float, margin: float) -> Suggestion:
    entry = entries[row]
    why = f"models that have not seen it say {suggested}"
    return Suggestion(
        row + 1, id_of(entry), "label", entry.said, suggested, round(confidence, 4), round(margin, 4), why, shown(entry)
    )


def _twins(entries: Sequence[Entry]) -> list[Suggestion]:
    """Texts that are nearly the same and have other labels."""
    found = []
    pairs, similarity = alike([entry.asked for entry in entries], Taking())
    for (one, other), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
        if entries[one].keys[1] != entries[other].keys[1]:
            for row, twin in ((one, other), (other, one)):
                why = f"row {twin + 1} is nearly the same ({value:.0%}) and has {entries[twin].said or 'no label'}"
                entry = entries[row]
                found.append(Suggestion(row + 1, id_of(entry), "twin", entry.said, why=why, text=shown(entry)))
    return found
