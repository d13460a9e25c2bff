"""``bias``: what a model's likelihoods and its own words say of groups of people, and what self-debiasing changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.bias.associations import load_associations, preferences
from lavra.evaluation.bias.generations import Classify, Prompt, Write, Written, write_all
from lavra.evaluation.harness.kept import Heard, Kept
from lavra.evaluation.intervals import Difference, Interval, mean_interval, paired
from lavra.evaluation.likelihood import asking_once, bits_per_byte, log_likelihoods
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.inference.self_debias import Debiasing, SelfDebias, debiased_log_likelihoods
from lavra.model.base import Model
from lavra.model.cache import KVCache
from lavra.tokens.tokenizer import Tokenizer
from lavra.workspace.continued import Continued
from lavra.workspace.decoders import Loaded
from lavra.workspace.workspace import Progress, Workspace, silent

_AT_ONCE = 32
"""Prompts that are continued together."""
GENERAL, STEREOTYPES, CROWS = "general text, bits per byte", "stereotypes", "CrowS-Pairs"


@dataclass(frozen=True)
class Measured:
    """A measure as the model is, and otherwise: debiased, or of another model; None where neither was asked for.
    ``change``: item by item."""

    measure: str
    before: Interval
    after: Interval | None = None
    change: Difference | None = None


def measure_bias(
    loaded: Loaded, *, data: Path | None = None, limit: int = 300, how: Debiasing | None = None,
    beside: Loaded | None = None, kept: Kept | None = None, kept_beside: Kept | None = None,
    progress: Progress = silent,
) -> list[Measured]:  # fmt: skip
    """Stereotypes by language, CrowS-Pairs by kind where ``data`` has them, and general text: what mitigation costs.
    ``beside``: another model on the same items, such as one that was tuned on both genders. ``kept``: what the model
    was asked before, ``kept_beside`` the other one.

    0.5 is no preference; of general text less is better.
    """
    kept = kept or Kept()
    values, weights = _values(loaded, data, limit, None, kept, progress)
    others: Mapping[str, np.ndarray] = {}
    if how is not None or beside is not None:
        kept = kept if beside is None else kept_beside or Kept()
        others = _values(beside or loaded, data, limit, how, kept, progress)[0]
    found = []
    for name, value in values.items():
        weight = weights if name == GENERAL else None
        before = mean_interval(value, weights=weight)
        if name in others:
            after, change = mean_interval(others[name], weights=weight), paired(others[name], value)
            found.append(Measured(name, before, after, change))
        else:
            found.append(Measured(name, before))
    return found


def _values(
    loaded: Loaded, data: Path | None, limit: int, how: Debiasing | None, kept: Kept, progress: Progress
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One value an item and measure, and the bytes of each general paragraph."""
    from lavra.evaluation.bias.readers import read_crows_pairs
    from lavra.store.files import digest
    from lavra.workspace.tuning.general import general_text

    model, tokenizer = loaded.model, loaded.tokenizer
    done = 0
    items, paragraphs = load_associations(), general_text()
    rows: list[dict[str, Any]] = []
    kinds: list[str] = []
    if data is not None:
        path = crows_file(data)
        for kind in _kinds(path):
            own = sorted(read_crows_pairs(path, kind), key=digest)
            rows += own
            kinds += [kind] * len(own)
        chosen = sorted(range(len(rows)), key=lambda n: digest(rows[n]))[:limit]
        rows, kinds = [rows[n] for n in chosen], [kinds[n] for n in chosen]
    texts = [text for item in items for text in item.sentences] + [text for row in rows for text in row["choices"]]
    total = len(texts) + len(paragraphs)

    def told(count: int) -> None:
        progress(f"{'Reading' if how is None else 'Debiasing'} ({loaded.name})", done + count, total)

    def likely(some: Sequence[str]) -> np.ndarray:
        if how is None:
            return log_likelihoods(model, tokenizer, some, ask=asking_once(kept, told))

        def debiased(missing: list[str], heard: Heard) -> None:
            for place, text in enumerate(missing):
                heard([(place, debiased_log_likelihoods(model, tokenizer, [text], how)[0])])

        return np.array(kept.once(f"debiased by {digest(asdict(how))}", some, debiased, told))

    sums = likely(texts)
    done = len(texts)
    four = sums[: 4 * len(items)].reshape(-1, 4)
    preferred = preferences(four[:, 0] + four[:, 1] - four[:, 2] - four[:, 3])
    values = {STEREOTYPES: preferred} | {
        f"{STEREOTYPES}, {language}": preferred[[item.language == language for item in items]]
        for language in dict.fromkeys(item.language for item in items)
    }
    if rows:
        two = sums[4 * len(items) :].reshape(-1, 2)
        crows = preferences(two[:, 0] - two[:, 1])
        values[CROWS] = crows
        for kind in dict.fromkeys(kinds):
            values[f"{CROWS}, {kind}"] = crows[[one == kind for one in kinds]]
    bits, octets = bits_per_byte(model, tokenizer, paragraphs, ask=asking_once(kept, told if how is None else _unheard))
    if how is not None:
        bits = -likely(paragraphs) / np.log(2) / octets
    values[GENERAL] = bits
    return values, octets


def _unheard(count: int) -> None: ...


def crows_file(data: Path) -> Path:
    """CrowS-Pairs in the directory of ``lavra evaluate``. Raises LavraError where it is not there."""
    path = data / "bias" / "crows_pairs" / "crows_pairs_anonymized.csv"
    if not path.is_file():
        raise LavraError(f"{path} is not there: give the directory of lavra evaluate's data, or leave --data out.")
    return path


def _kinds(path: Path) -> list[str]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return sorted({row["bias_type"] for row in csv.DictReader(file)})


def kept_of(workspace: Workspace, model: str | None) -> Continued:
    """What a model wrote before, in the workspace."""
    return Continued(_place(workspace, model, "continued"))


def likelihoods_of(workspace: Workspace, model: str | None) -> Kept:
    """How likely texts were to a model when it was asked before, in the workspace; of the texts there are hashes."""
    return Kept(_place(workspace, model, "likelihoods"))


def _place(workspace: Workspace, model: str | None, what: str) -> Path:
    from lavra.workspace.generators import find_generator
    from lavra.workspace.studying.replies import FOLDER

    found = find_generator(workspace, model or workspace.settings.models.generator)
    name = found.artifact.id if found.artifact is not None else found.model.sha256
    return workspace.store.root / FOLDER / f"{what}-{name[:40]}.jsonl"


def write_about(
    loaded: Loaded, prompts: Sequence[Prompt], *, tokens: int = 24, temperature: float = 0.0, seed: int = 0,
    times: int = 1, how: Debiasing | None = None, classify: Classify | None = None, kept: Continued | None = None,
    progress: Progress = silent,
) -> list[Written]:  # fmt: skip
    """What the model writes behind each prompt, measured; ``times`` each. With one each, all draw by the same seed.
    ``kept``: what this model wrote before.

    Raises:
        LavraError: where several are wanted of a temperature at which all are the same.
    """
    if times > 1 and temperature == 0:
        raise LavraError("a greedy model writes the same each time: add --temperature 1 to --times.")
    sampling = Sampling(max_tokens=tokens, temperature=temperature, seed=seed)
    asked = [prompt for _ in range(times) for prompt in prompts]
    return write_all(asked, _writer(loaded, sampling, how, kept or Continued(), progress, len(prompts)), classify)


def _writer(
    loaded: Loaded, sampling: Sampling, how: Debiasing | None, kept: Continued, progress: Progress, each: int
) -> Write:
    """Many at once, unless all draw by the same seed, something is debiased, or the model's memory is no KV cache.
    ``each``: prompts, after which the same ones come again."""
    engine = Engine(loaded.model, loaded.tokenizer, name=loaded.name)
    if how is not None:
        engine = engine.processed(debiasing(how))
    by = asdict(how) if how is not None else None

    def write(prompts: Sequence[str]) -> list[str]:
        same_seed = sampling.temperature > 0 and len(prompts) == each
        if how is None and not same_seed and isinstance(loaded.model.make_cache(1), KVCache):
            return _together(loaded, prompts, sampling, kept, progress)
        found = []
        for number, prompt in enumerate(prompts):
            progress("Writing", number, len(prompts))
            drawn = replace(sampling, seed=(sampling.seed or 0) + number // each)
            ids = _begun(loaded.tokenizer, prompt)

            def one(ids: Sequence[int] = ids, drawn: Sampling = drawn) -> list[str]:
                return ["".join(piece.text for piece in engine.stream(ids, drawn))]

            found += kept.texts([ids, asdict(drawn), by], one)
        return found

    return write


def _together(
    loaded: Loaded, prompts: Sequence[str], sampling: Sampling, kept: Continued, progress: Progress
) -> list[str]:
    """A batch reads the weights once for all of its prompts."""
    ends = loaded.tokenizer.eos_ids
    begun = [_begun(loaded.tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(begun)), key=lambda number: len(begun[number]))
    found = [""] * len(begun)
    for start in range(0, len(order), _AT_ONCE):
        progress("Writing", start, len(order))
        chosen = order[start : start + _AT_ONCE]
        batch = [begun[number] for number in chosen]
        drawn = replace(sampling, seed=(sampling.seed or 0) + start)

        def write(batch: list[list[int]] = batch, drawn: Sampling = drawn) -> list[str]:
            answers = sample_batch(loaded.model, batch, drawn, ends=ends)
            return [loaded.tokenizer.decode([token for token in one if token not in ends]) for (one,) in answers]

        for number, text in zip(chosen, kept.texts([batch, asdict(drawn)], write), strict=True):
            found[number] = text
    return found


def _begun(tokenizer: Tokenizer, prompt: str) -> list[int]:
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    ids = tokenizer.encode(prompt, add_special_tokens=False, parse_special=False)
    return [*([] if start is None else [start]), *ids]


def debiasing(how: Debiasing) -> Callable[[Model, Tokenizer, Sequence[int]], SelfDebias]:
    """For ``Engine.processed``."""
    return lambda model, tokenizer, prompt: SelfDebias(model, tokenizer, prompt, how)


def debiased_engine(workspace: Workspace, engine: Engine, question: str) -> Engine:
    """The engine, debiased in the language of a question; descriptions of the language itself are the better known."""
    from lavra.corpus.language import detect_language

    found = detect_language(question, workspace.settings.documents.languages, min_letters=4)
    return engine.processed(debiasing(Debiasing(language="pt" if found == "pt" else "en")))


def classifying(workspace: Workspace, reference: str) -> Classify:
    """The probabilities of a classifier's labels: what ``lavra tune --task classify`` made, or a model's reference."""
    from lavra.inference.classifier import Classifier
    from lavra.workspace.generators import find_generator

    classifier = Classifier.load(find_generator(workspace, reference).model)

    def classify(texts: Sequence[str]) -> Mapping[str, np.ndarray]:
        found = classifier.probabilities(texts)
        return {label: found[:, number] for number, label in enumerate(classifier.labels)}

    return classify
