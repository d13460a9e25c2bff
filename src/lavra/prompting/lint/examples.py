"""Are the examples in the prompt good ones? An example is a line with an input's key, and one with an output's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from lavra.prompting.lint import words
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Part, Subject

_INPUT = (
    r"Q|Question|Input|Text|Review|Tweet|Sentence|Message|Comment|Line|Pergunta|Entrada|Texto|Frase|Avaliação|Mensagem"
    r"|Comentário|Linha|Pregunta|Reseña|Mensaje|Comentario|Línea"
)
_OUTPUT = (
    r"A|Answer|Output|Label|Class|Category|Sentiment|Verdict|Resposta|Saída|Rótulo|Classe|Categoria|Sentimento"
    r"|Veredito|Respuesta|Salida|Etiqueta|Clase|Categoría|Sentimiento"
)
_LINE = re.compile(
    rf"^[ \t]*(?:(?P<in>{_INPUT})|(?P<out>{_OUTPUT}))[ \t]*(?P<separator>:|->|=>|=|-)[ \t]*(?P<value>[^\n]*)$",
    re.MULTILINE | re.IGNORECASE,
)
_ENOUGH = 4
"""Examples from which on their order and balance say something."""
_MOST = 0.75


@dataclass(frozen=True)
class Example:
    """``keys``: of input and output with their separators, as written."""

    part: Part
    start: int
    end: int
    given: str
    output: str
    keys: tuple[str, str]


def read_examples(part: Part) -> tuple[list[Example], list[tuple[int, int, str]]]:
    """Examples, and inputs whose output is missing. The last input, or one with a slot, is the question itself."""
    found: list[Example] = []
    lonely: list[tuple[int, int, str]] = []
    begun: re.Match[str] | None = None
    for match in _LINE.finditer(part.text):
        if match["in"]:
            if begun is not None:
                lonely.append((*begun.span(), begun["value"]))
            begun = match
        elif begun is not None:
            if match["value"].strip() and "{{" not in begun["value"]:
                keys = (begun["in"] + begun["separator"], match["out"] + match["separator"])
                given = part.text[begun.start("value") : match.start()].strip()
                found.append(Example(part, begun.start(), match.end(), given, match["value"].strip(), keys))
            begun = None
    return found, [one for one in lonely if "{{" not in one[2] and one[2].strip()]


def examples(subject: Subject) -> Iterator[Finding]:
    every: list[Example] = []
    for part in subject.parts:
        found, lonely = read_examples(part)
        every += found
        for start, end, _ in lonely if found else ():
            yield finding("examples-inconsistent", part, start, end, "this example has no output")
    if every:
        yield from _consistent(every)
        yield from _leaking(every)
        yield from _twice(every)
        yield from _labels(every)
    else:
        yield from _none(subject)


def _none(subject: Subject) -> Iterator[Finding]:
    for part, match in subject.matches(words.LABELS_WANTED[subject.tongue]):
        if not any(re.search(r"[{\[]\s*\"", other.prose) for other in subject.parts):
            yield finding("no-examples", part, *match.span(), "no example of what is wanted")
        return


def _consistent(found: list[Example]) -> Iterator[Finding]:
    usual = Counter(one.keys for one in found).most_common(1)[0][0]
    for one in found:
        if one.keys != usual:
            what = f"“{one.keys[0]} … {one.keys[1]}” where others have “{usual[0]} … {usual[1]}”"
            yield finding("examples-inconsistent", one.part, one.start, one.end, what)
            return
    written: dict[str, str] = {}
    for one in found:
        plain = one.output.casefold().rstrip(".!")
        if plain in written and written[plain] != one.output:
            what = f"“{one.output}” where another has “{written[plain]}”"
            yield finding("examples-inconsistent", one.part, one.start, one.end, what)
            return
        written[plain] = one.output


def _labelled(found: list[Example]) -> list[str]:
    """The outputs where they are labels: short, and some come again."""
    labels = [one.output.casefold().rstrip(".!") for one in found]
    short = all(len(label.split()) <= 3 for label in labels)
    return labels if short and len(set(labels)) < len(labels) and len(labels) > 2 else []


def _leaking(found: list[Example]) -> Iterator[Finding]:
    labels = _labelled(found) or [one.output.casefold().rstrip(".!") for one in found]
    if any(len(label.split()) > 3 for label in labels):
        return
    for one, label in zip(found, labels, strict=True):
        if len(label) > 2 and not label.isdigit() and re.search(rf"\b{re.escape(label)}\b", one.given.casefold()):
            yield finding("example-tells-label", one.part, one.start, one.end, f"the input holds “{one.output}”")


def _twice(found: list[Example]) -> Iterator[Finding]:
    seen: set[str] = set()
    for one in found:
        plain = " ".join(re.findall(r"\w+", one.given.casefold()))
        if plain in seen:
            yield finding("example-twice", one.part, one.start, one.end, "the same input again")
        seen.add(plain)


def _labels(found: list[Example]) -> Iterator[Finding]:
    labels = _labelled(found)
    if len(labels) < _ENOUGH:
        return
    counts = Counter(labels)
    label, most = counts.most_common(1)[0]
    first, last = found[0], found[-1]
    if most / len(labels) >= _MOST:
        what = f"{most} of {len(labels)} examples are “{label}”"
        yield finding("examples-one-sided", first.part, first.start, last.end, what)
    elif len(list(groupby(labels))) == len(counts) and all(count > 1 for count in counts.values()):
        what = f"first all “{labels[0]}”, last all “{labels[-1]}”"
        yield finding("examples-ordered", first.part, first.start, last.end, what)


RULES = (examples,)
