"""A judge's grades, kept as they come, so that a study that was stopped asks it nothing twice; and whether to believe
them, from all replies together."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.items import Question, Reply
from lavra.evaluation.judging import QUOTED, Judge, Weigh, agreement, by_probabilities, doubts, kendall
from lavra.evaluation.measuring import Scores
from lavra.store.files import digest
from lavra.workspace.studying.scoring import QUALITY, Result

if TYPE_CHECKING:
    from lavra.workspace.generators import Generator

JUDGE = "judge"


class KeptJudge:
    """A judge that is asked about a reply once. ``counts`` are those of all grades, the kept ones among them, and
    ``unread`` the first verdicts that could not be read; ``failed``: why it was not asked any more, "" where it was."""

    def __init__(self, judge: Judge, path: Path, name: str) -> None:
        self._judge, self._path, self._name = judge, path, name
        self.told: Callable[[int], None] = lambda graded: None
        """Called with the number of replies that it saw, since a judge may take longer than all ways."""
        self._kept: dict[str, tuple[float | None, dict[str, int], list[str]]] = {}
        self._counted: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.unread: list[str] = []
        self.failed = ""
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
                self._kept[row["key"]] = (row["grade"], dict(row["counts"]), list(row.get("unread", ())))
            except (ValueError, TypeError, KeyError):  # cut short by a kill
                continue

    def try_out(self) -> None:
        """Ask it once, unless something of it is kept, so that a wrong address is said before anything is built.

        Raises:
            LavraError: where it refuses, or does not answer.
        """
        if not self._kept:
            self._judge.write([{"role": "user", "content": "Reply with the JSON object {}."}])

    def __call__(self, question: Question, reply: Reply) -> float:
        """A grade, or NaN: it cannot be read, or the judge has failed, after which it is asked nothing more."""
        rubric = self._judge.rubric
        key = digest([self._name, rubric.criterion, rubric.grades, question.text, list(question.answers), reply.text])
        if key not in self._kept:
            if self.failed:
                return np.nan
            try:
                self._ask(key, question, reply)
            except LavraError as error:
                self.failed = str(error)
                return np.nan
        grade, counted, unread = self._kept[key]
        if key not in self._counted:
            self._counted.add(key)
            self.told(len(self._counted))
            self.counts.update(counted)
            self.unread = [*self.unread, *unread][:QUOTED]
        return np.nan if grade is None else grade

    def _ask(self, key: str, question: Question, reply: Reply) -> None:
        before, seen = Counter(self._judge.counts), len(self._judge.unread)
        grade = self._judge(question, reply)
        counted = dict(Counter(self._judge.counts) - before)
        self._kept[key] = (None if np.isnan(grade) else grade, counted, self._judge.unread[seen:])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            row = {"key": key, "grade": self._kept[key][0], "counts": counted, "unread": self._kept[key][2]}
            file.write("\n" + json.dumps(row, ensure_ascii=False))
            file.flush()
            os.fsync(file.fileno())


def judged(found: Sequence[Result], judge: KeptJudge, name: str | None, by: str) -> dict[str, Any]:
    """What the report says of a judge: its name, what it did, how far all its grades agree with the other measures,
    across ways, and why not to believe it. ``by``: the measure that ways are compared by."""
    scores = together([result.scores for result in found])
    reference = QUALITY if by != JUDGE else "token_recall"  # nobody agrees with himself
    agreed = {**agreement(scores, [reference]), **agreement(scores)}
    grades, quality = scores.values[JUDGE], scores.values[reference]
    both = ~np.isnan(grades) & ~np.isnan(quality)
    return {
        "name": name,
        "counts": dict(judge.counts),
        "unread": judge.unread,
        "failed": judge.failed,
        "agreement": {
            measure: {"mean": one.mean, "low": one.low, "high": one.high, "count": one.count}
            for measure, one in agreed.items()
        },
        "kendall": kendall(grades[both], quality[both]) if both.sum() > 1 else None,
        "doubts": doubts(judge.counts, grades, {reference: agreed[reference]} if reference in agreed else {}),
    }


def judge_here(generator: Generator) -> Weigh:
    """A model on this machine as judge, loaded."""
    from lavra.workspace.decoders import load_generator

    loaded = load_generator(generator)
    return by_probabilities(loaded.model, loaded.tokenizer)


def together(scores: Sequence[Scores]) -> Scores:
    """The replies of all ways as one set."""
    names = set.intersection(*(set(one.values) for one in scores)) if scores else set()
    return Scores(
        tuple(question for one in scores for question in one.questions),
        tuple(reply for one in scores for reply in one.replies),
        {name: np.concatenate([one.values[name] for one in scores]) for name in sorted(names)},
    )
