"""What tuning did to a model beside answering: general text and tasks, bias, and what it learned by heart.

Measured of each model of the study once, and only where a way changed one: with a single model there is nothing to
compare. Values are kept an item each, so that a model and its base are compared item by item, and nothing is measured
twice. Each measure is small (14 paragraphs, 64 tasks, 48 stereotypes, up to 80 beginnings) and says so by its interval.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.evaluation.intervals import Difference, Interval, mean_interval, paired
from lavra.store.files import digest, write_atomically
from lavra.workspace.studying.by_heart import PREFIX, REST, Probe, probes_of
from lavra.workspace.studying.race import Entry
from lavra.workspace.studying.replies import FOLDER
from lavra.workspace.studying.way import Given

if TYPE_CHECKING:
    from lavra.model.base import Model
    from lavra.tokens.tokenizer import Tokenizer
    from lavra.workspace.generators import Generator
    from lavra.workspace.studying.exam import Exam

VERSION = 2
"""Raised when the same model would get other values."""
CROWS = 300
"""Pairs of CrowS-Pairs that are asked, where its file is given."""
GENERAL, TASKS, BIAS, CROWS_PAIRS = "bits_per_byte", "tasks", "stereotypes", "crows_pairs"
_WEIGHTS = "bytes"
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Ability:
    """A model of the study, measured. ``base``: the model under it, ``None`` where it is one itself; ``ways``: whose it
    is; ``reads_all``: it read all documents, so that none of them is unknown to it."""

    id: str
    base: str | None
    ways: tuple[str, ...]
    reads_all: bool
    values: Values

    def interval(self, measure: str) -> Interval:
        """The mean over the items; of general text the bits of all bytes."""
        weights = self.values[_WEIGHTS] if measure == GENERAL else None
        return mean_interval(self.values[measure], weights=weights)

    def by_heart(self, *, learned: bool, of: Ability | None = None) -> Interval:
        """Share of the beginnings that it goes on from word by word, of what it learned from or of what it did not;
        ``of``: the share of another model on the same."""
        values = (of or self).values
        kinds = ["answers_learned" if learned else "answers_held"]
        if self.reads_all:
            kinds.append("documents" if learned else "general")
        return mean_interval([value for kind in kinds for value in values.get(kind, ())])

    def against(self, base: Ability, measure: str) -> Difference:
        """How much more it has than its base."""
        return paired(self.values[measure], base.values[measure])


def measure_abilities(entries: Sequence[Entry], exam: Exam, given: Given, data: Path | None) -> list[Ability]:
    """Every model that a way of the study uses, if any of them was changed; bases first. ``data``: the directory of
    ``lavra evaluate``, for CrowS-Pairs. A model that cannot be measured is said, and left out."""
    models = _models(entries, given)
    if len(models) < 2:
        return []
    items = _Items(exam, given, data)
    found = []
    for number, (id, (ways, reads_all)) in enumerate(models.items()):
        given.progress("Measuring what was kept", number, len(models))
        try:
            generator = _generator(given, id)
            values = _kept(given, generator, items)
        except LavraError as error:
            given.say(f"what {id} kept was not measured: {error}")
            continue
        base = _base(given, id)
        found.append(Ability(id, base, tuple(ways), reads_all, values))
    given.progress("Measuring what was kept", len(models), len(models))
    return found


def _models(entries: Sequence[Entry], given: Given) -> dict[str, tuple[list[str], bool]]:
    """By artifact, the ways that use it and whether it read all documents; bases first, each once."""
    own: dict[str, tuple[list[str], bool]] = {}
    for entry in entries:
        if entry.built is None or "model" not in entry.built.uses:
            continue
        id = entry.built.uses["model"]
        made = entry.built.artifacts
        reads = any("corpus" in artifact.manifest.inputs for artifact in made)
        ways, before = own.get(id, ([], False))
        own[id] = ([*ways, entry.candidate.name], before or reads)
    found: dict[str, tuple[list[str], bool]] = {}
    for id in own:
        base = _base(given, id)
        if base is not None and base not in own:
            found.setdefault(base, ([], False))
    changed = {id for id in own if "base" in given.desk.workspace.store.get(id).manifest.inputs}
    if not changed and len(own) < 2:
        return {}
    return found | {id: own[id] for id in own if id not in changed} | {id: own[id] for id in own if id in changed}


def _generator(given: Given, id: str) -> Generator:
    from lavra.workspace.generators import find_generator

    return find_generator(given.desk.workspace, id)


def _base(given: Given, id: str) -> str | None:
    """The model that was there before anything was tuned; ``None`` for such a one, and for one from scratch."""
    store, seen = given.desk.workspace.store, id
    while True:
        manifest = store.get(seen).manifest
        base = manifest.inputs.get("base")
        if base is None:
            return None if seen == id or manifest.recipe.get("made by") == "study" else seen
        seen = base


class _Items:
    """What all models are asked, read once."""

    def __init__(self, exam: Exam, given: Given, data: Path | None) -> None:
        from lavra.evaluation.bias.associations import load_associations
        from lavra.workspace.tuning.general import general_text
        from lavra.workspace.tuning.tasks import load_tasks

        self.paragraphs = general_text()
        self.tasks = load_tasks()
        self.associations = load_associations()
        self.pairs = crows_pairs(data) if data is not None else []
        self.probes = probes_of(exam, given, self.paragraphs)

    @property
    def fingerprint(self) -> str:
        probes = {kind: [[probe.turns, probe.text] for probe in some] for kind, some in self.probes.items()}
        tasks = [[task.prompt, task.choices, task.answer] for task in self.tasks]
        sentences = [item.sentences for item in self.associations]
        return digest([VERSION, self.paragraphs, tasks, sentences, self.pairs, probes])

    def measure(self, model: Model, tokenizer: Tokenizer) -> dict[str, list[float]]:
        from lavra.evaluation.bias.associations import association_gaps, preferences
        from lavra.evaluation.likelihood import bits_per_byte, log_likelihoods
        from lavra.workspace.tuning.tasks import right_tasks

        bits, octets = bits_per_byte(model, tokenizer, self.paragraphs)
        found = {
            GENERAL: bits.tolist(),
            _WEIGHTS: octets.tolist(),
            TASKS: [float(right) for right in right_tasks(model, tokenizer, self.tasks)],
            BIAS: preferences(association_gaps(model, tokenizer, self.associations)).tolist(),
        }
        if self.pairs:
            sums = log_likelihoods(model, tokenizer, [text for pair in self.pairs for text in pair]).reshape(-1, 2)
            found[CROWS_PAIRS] = preferences(sums[:, 0] - sums[:, 1]).tolist()
        return found | {kind: verbatim(model, tokenizer, probes) for kind, probes in self.probes.items()}


def verbatim(model: Model, tokenizer: Tokenizer, probes: Sequence[Probe]) -> list[float]:
    """1 for each probe whose rest is what the model writes by itself, greedily: of documents by the function of
    ``lavra memorisation``; of answers, which stand behind a conversation, by whether each token is the likeliest."""
    from lavra.evaluation.harness.scoring import score
    from lavra.evaluation.memorisation.extraction import extract

    if not any(probe.turns for probe in probes):
        found = extract(model, tokenizer, [probe.text for probe in probes], prefix=PREFIX, rest=REST)
        return [float(one.exact) for one in found]
    return [float(greedy) for _, greedy in score(model, [probe.ids(tokenizer) for probe in probes])]


def crows_pairs(data: Path) -> list[tuple[str, str]]:
    """A sample of the pairs, the stereotyping sentence first. Raises LavraError where the file is not there."""
    from lavra.evaluation.bias.readers import read_crows_pairs

    path = data / "bias" / "crows_pairs" / "crows_pairs_anonymized.csv"
    if not path.is_file():
        raise LavraError(f"{path} is not there: give the directory of lavra evaluate, or leave --data out.")
    pairs = [(row["choices"][0], row["choices"][1]) for row in read_crows_pairs(path)]
    return sorted(pairs, key=digest)[:CROWS]


def _kept(given: Given, generator: Generator, items: _Items) -> Values:
    """The values of a model: from the file, or measured and written there. Numbers alone, no text."""
    path = _file(given, generator, items)
    try:
        found: Values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        found = _measure(given, generator, items)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found).encode())
    return found


def _file(given: Given, generator: Generator, items: _Items) -> Path:
    tuned = generator.artifact.id if generator.artifact is not None else ""
    named = digest([generator.model.sha256, tuned, items.fingerprint])[:24]
    return given.desk.workspace.store.root / FOLDER / f"abilities-{named}.json"


def _measure(given: Given, generator: Generator, items: _Items) -> dict[str, list[float]]:
    from lavra.workspace.decoders import load_generator

    given.desk.leave_models()
    loaded = load_generator(generator)
    found = items.measure(loaded.model, loaded.tokenizer)
    del loaded
    given.desk.leave_models()
    return found


def to_record(found: Sequence[Ability]) -> list[dict[str, Any]]:
    """As ``study.json`` has it."""
    by_id = {one.id: one for one in found}
    return [_row(one, by_id.get(one.base) if one.base else None) for one in found]


def _row(one: Ability, base: Ability | None) -> dict[str, Any]:
    row: dict[str, Any] = {"id": one.id, "base": one.base, "ways": list(one.ways), "reads_all": one.reads_all}
    for measure in (GENERAL, TASKS, BIAS, CROWS_PAIRS):
        if measure in one.values:
            row[measure] = _plain(one.interval(measure))
            if base is not None:
                row[f"{measure}_before"] = _plain(base.interval(measure))
                difference = one.against(base, measure)
                row[f"{measure}_change"] = {**_plain(difference), "p": difference.p}
    for name, learned in (("learned", True), ("held", False)):
        row[f"by_heart_{name}"] = _plain(one.by_heart(learned=learned))
        if base is not None:
            row[f"by_heart_{name}_before"] = _plain(one.by_heart(learned=learned, of=base))
    return row


def _plain(interval: Interval | Difference) -> dict[str, Any]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "count": interval.count}
