"""Portuguese with the gender of its people exchanged: what agrees with a word that changes, changes with it.

By rules over words, without a parser. Of each person's word: the determiners and adjectives before it ("o próprio
barão" → "a própria baronesa"), the adjectives after it, and, where it is the subject, participles and adjectives that a
copula says of it ("foi nomeado" → "foi nomeada", but not "tinha nomeado"). Only what has the person's own gender can
agree with it. Words of either gender ("estudante", "artista") change nothing themselves and carry those of their
phrase. Object pronouns ("o prenderam", "levá-lo") change where a person was spoken of. What is not seen: persons who
are named only by a proper name, words that are in no list, and whether "ele" is a thing.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

from lavra.evaluation.bias.swapping import WORD, like, masculine, pairs

_LISTS = tomllib.loads(files(__package__).joinpath("agreement_pt.toml").read_text(encoding="utf-8"))


def _listed(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


_TO_HER = dict(pair.split("/") for pair in _LISTS["determiners"].split())
_TO_HIM = {her: him for him, her in _TO_HER.items()}
_FLIP = {**_TO_HER, **_TO_HIM}
_OPENING = _listed("opening")
"""Determiners that begin a noun phrase: what stands before them agrees with something else, but for "todos os"."""
_EITHER, _COPULAS, _BESIDE = _listed("either"), _listed("copulas"), _listed("beside")
_ADJECTIVES = dict(pair.split("/") for pair in _LISTS["adjectives"].split())
_HERS = {her: him for him, her in _ADJECTIVES.items()}
_NO_ADJECTIVES, _NEUTRAL, _PREPOSITIONS = _listed("no_adjectives"), _listed("neutral"), _listed("prepositions")
_MIXED = frozenset(("pais", "filhos", "eles", "deles", "membros"))
"""Parents, children, they: of both genders as a rule."""
_DEMONYMS = _listed("demonyms")
_PRONOUNS = frozenset(("ele", "ela", "eles", "elas"))
_BREAKS = _listed("breaks")
_BEFORE_VERBS = re.compile(r"(?:ou|aram|eram|iram|iu|ava|avam|ará|erá|irá|aria|eria|iria|[bclrv]eu|ndeu|teu)$")
_PRONOUN = re.compile(r"^(.+-)(l?)([oa]s?)$")
_ENDINGS = (("ado", "ada"), ("ido", "ida"), ("oso", "osa"), ("ico", "ica"), ("ano", "ana"), ("ário", "ária"),
            ("ório", "ória"), ("ivo", "iva"), ("eiro", "eira"), ("ino", "ina"), ("undo", "unda"), ("ento", "enta"),
            ("ês", "esa"), ("dor", "dora"), ("sor", "sora"), ("tor", "tora"), ("eito", "eita"),
            ("osto", "osta"), ("erto", "erta"), ("uído", "uída"), ("aído", "aída"), ("írio", "íria"),
            ("íssimo", "íssima"), ("ólogo", "óloga"), ("ulo", "ula"), ("anho", "anha"),
            ("ito", "ita"), ("uo", "ua"), ("esto", "esta"), ("into", "inta"), ("unto", "unta"))  # fmt: skip
"""Endings of adjectives and participles; other words in -o are taken for nouns or verbs unless a list has them."""
_PLURALS = (("eses", "esas"), ("dores", "doras"), ("sores", "soras"), ("tores", "toras"))


def portuguese(text: str) -> str:
    """The text with masculine and feminine of its persons exchanged; what is not recognised stays as it is."""
    return "".join(_Sentence(piece).swapped() for piece in re.split(r"(?<=[.!?;])(?=\s)", text))


class _Sentence:
    """Words with what stands between them; a changed word is written into ``new``."""

    def __init__(self, text: str) -> None:
        matches = list(WORD.finditer(text))
        self.words = [match.group() for match in matches]
        self.plain = [word.lower() for word in self.words]
        ends = [0, *(match.end() for match in matches)]
        starts = [*(match.start() for match in matches), len(text)]
        self.gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
        self.new: dict[int, str] = {}
        self.persons: dict[int, bool] = {}
        """Places of persons' words; True: masculine until now."""

    def swapped(self) -> str:
        known = pairs("pt")
        for place, word in enumerate(self.plain):
            if word in known and self._is_person(place):
                self.new[place] = known[word]
                self.persons[place] = word in masculine("pt")
        certain = bool(self.persons)
        for place, word in enumerate(self.plain):
            if (
                word in _EITHER
                and (not certain or not word.endswith("s"))
                and not (place and self.words[place][0].isupper())
            ):
                him = self._by_determiner(place)
                if him is not None:
                    self.persons[place] = him
        for person in list(self.persons):
            if self.plain[person] not in _PRONOUNS:
                self._before(person)
                self._after(person)
        if self.new:
            self._beginning()
            self._predicates()
            self._objects()
        words = [like(self.new[n], word) if n in self.new else word for n, word in enumerate(self.words)]
        return "".join(part for pair in zip(self.gaps, [*words, ""], strict=True) for part in pair)

    def _is_person(self, place: int) -> bool:
        word = self.plain[place]
        if word in _MIXED or (word == "deus" and self.words[place][0].isupper()):
            return False
        if place and self.words[place][0].isupper() and re.match(r"(?:sant|masculin|feminin)[oa]s?$", word):
            return False  # of a name: "Terra Santa"
        if word in _DEMONYMS and (place == 0 or not self._touching(place - 1) or self.plain[place - 1] not in _FLIP):
            return False  # an adjective: "a língua inglesa"
        behind = place and self.plain[place - 1] == "de" and self._touching(place - 1)
        return not behind or word in _PRONOUNS or word.endswith("s")  # "aprendiz de fotógrafo" is a trade

    def _by_determiner(self, place: int) -> bool | None:
        """Whether the words before a word of either gender make it masculine; None: they do not say."""
        for before in range(place - 1, max(-1, place - 4), -1):
            if not self._touching(before):
                return None
            word = self.plain[before]
            if word in _TO_HER or word in _TO_HIM:
                return word in _TO_HER
            if word not in _NEUTRAL and self._other(before, True) is None and self._other(before, False) is None:
                return None
        return None

    def _touching(self, place: int) -> bool:
        """Only a space stands behind the word."""
        return 0 <= place < len(self.words) - 1 and self.gaps[place + 1].isspace()

    def _before(self, person: int) -> None:
        """Determiners and adjectives from the noun leftwards, as long as each agrees."""
        him, place, opened = self.persons[person], person - 1, False
        flips = _TO_HER if him else _TO_HIM
        while self._touching(place) and place not in self.new:
            word = self.plain[place]
            if opened and word not in ("todo", "toda", "todos", "todas", "ambos", "ambas"):
                return
            if word in flips:
                self.new[place] = flips[word]
                opened = word in _OPENING
            elif (other := self._other(place, him)) and place and self._determined(place, flips):
                self.new[place] = other
            elif word not in _NEUTRAL:
                return
            place -= 1

    def _determined(self, place: int, flips: dict[str, str]) -> bool:
        """A determiner stands before the adjective, or one or two words before."""
        for before in (place - 1, place - 2):
            if not self._touching(before):
                return False
            if self.plain[before] in flips:
                return True
        return False

    def _after(self, person: int) -> None:
        """Adjectives that follow, also behind an adverb and joined by "e"."""
        place, him = person + 1, self.persons[person]
        while self._touching(place - 1) and place < len(self.words):
            skipped = self.plain[place] in _BESIDE or self.plain[place] in _NEUTRAL
            if not skipped:
                other = (
                    self._other(place, him) if place not in self.new and not self.words[place][0].isupper() else None
                )
                if other is None:
                    return
                self.new[place] = other
            place += 1

    def _beginning(self) -> None:
        """ "Nascido em Lisboa, ele …": a participle at the sentence's beginning is the subject's."""
        him = self.persons[min(self.persons)]
        if self.plain[0] not in pairs("pt") and _participle(self.plain[0]) and (other := self._other(0, him)):
            self.new.setdefault(0, other)

    def _predicates(self) -> None:
        """What a copula says of a person."""
        for copula in range(min(self.persons) + 1, len(self.words)):
            if self.plain[copula] not in _COPULAS or (him := self._subject(copula)) is None:
                continue
            place = copula + 1
            while place < len(self.words) and self._touching(place - 1) and self.plain[place] in _BESIDE:
                place += 1
            if place < len(self.words) and self._touching(place - 1):
                self._predicate(place, him)

    def _predicate(self, place: int, him: bool) -> None:
        flips = _TO_HER if him else _TO_HIM
        word, left = self.plain[place], len(self.words) - 1
        if word in flips and word in _OPENING and place < left:
            comparing = self.plain[place + 1] in ("mais", "menos") and place + 1 < left
            following = place + 2 if comparing else place + 1
            other = self._other(following, him)
            if following in self.new or (other and (comparing or self.plain[following] in _ADJECTIVES | _HERS)):
                self.new.setdefault(place, flips[word])
                if other:
                    self.new.setdefault(following, other)
            return
        if place in self.new or word in _FLIP or not (other := self._other(place, him)):
            return
        self.new[place] = other
        if place + 2 <= left and self.plain[place + 1] == "e" and (more := self._other(place + 2, him)):
            self.new.setdefault(place + 2, more)

    def _subject(self, copula: int) -> bool | None:
        """The gender of the copula's subject, if that is a person. In its own clause a person's word that is not of
        something else ("do marido"); in a clause without a noun phrase the last such person before."""
        own = True
        for place in range(copula - 1, -1, -1):
            if place in self.persons and not self._of_something(place):
                return self.persons[place]
            word = self.plain[place]
            phrase = word in _OPENING or word in ("seu", "sua", "seus", "suas")
            other = own and phrase and word not in _PREPOSITIONS and self._touching(place) and place not in self.new
            if other and not re.search(r"[aei]r$", self.plain[place + 1]):
                return None
            if own and place == copula - 1 and place and self.words[place][0].isupper():
                return None  # a name
            if word in _BREAKS or re.search(r"[,;:()–—]", self.gaps[place]):
                own = False
        return None

    def _of_something(self, place: int) -> bool:
        """A preposition opens its phrase."""
        for before in range(place - 1, max(-1, place - 4), -1):
            if self.plain[before] in _PREPOSITIONS:
                return True
            if self.plain[before] not in _FLIP and self.plain[before] not in _NEUTRAL and before not in self.new:
                return False
        return False

    def _objects(self) -> None:
        """ "o prenderam" and "levá-lo", where somebody was spoken of before."""
        first = min(self.persons)
        him = self.persons[first]
        flips = _TO_HER if him else _TO_HIM
        for place in range(first + 1, len(self.words)):
            word = self.plain[place]
            if place in self.new:
                continue
            if word in ("o", "a") and word in flips and self._touching(place):
                if _BEFORE_VERBS.search(self.plain[place + 1]):
                    self.new[place] = flips[word]
            elif (found := _PRONOUN.match(word)) and found[3] in flips:
                self.new[place] = found[1] + found[2] + flips[found[3]]

    def _other(self, place: int, him: bool) -> str | None:
        """The adjective or participle at ``place`` in the other gender, if it has that of the person."""
        word = self.plain[place] if place < len(self.plain) else ""
        if word in _NO_ADJECTIVES or word in _FLIP:
            return None
        if word in pairs("pt"):
            return pairs("pt")[word] if (word in masculine("pt")) == him else None
        listed = _ADJECTIVES if him else _HERS
        for one, more in (("", ""), ("s", "s")):
            if word.endswith(one) and (found := listed.get(word[: len(word) - len(one)])):
                return found + more
        for masculine_form, feminine in _PLURALS + tuple((a + "s", b + "s") for a, b in _ENDINGS) + _ENDINGS:
            end, new = (masculine_form, feminine) if him else (feminine, masculine_form)
            if word.endswith(end) and len(word) > len(end) + 1:
                return word[: -len(end)] + new
        return None


def _participle(word: str) -> bool:
    return re.search(r"(?:ad|id|íd|eit|ost|ert|res|rit)[oa]s?$", word) is not None and len(word) > 4
