# ruff: noqa: E501, SIM102 — a pattern is read whole, and conditions one after another
"""English: questions by inversion and do-support, from sentences whose verbs are known for certain."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lavra.assistants.questions.blocks import Names, listed
from lavra.assistants.questions.grammar import DIGITS, NAME, Made, asked, short

CODE = "en"
DANGLING = re.compile(
    r"\b(?:it|this|that one|these|those|he|she|they|them|him|here|the (?:same|following|above|former|latter|other|rest)"
    r"|such an?)\b(?! (?:page|manual|guide)\b)"
    r"|^What (?:is|are) (?:the |an? )?(?:thing|answer|result|reason|way|example|one|first|second|third|last|"
    r"next|number|name|text|question|line|value|word|part|kind|set|list|table|order|point|problem|case|goal|aim)s?\?",
    re.IGNORECASE,
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = rf"(?:\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTHS}),? \d{{4}}|(?:{_MONTHS}) \d{{1,2}},? \d{{4}}|(?:{_MONTHS}) \d{{4}}|(?:1\d|20)\d\d)"
_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|eighteen|twenty|"
    "thirty|forty|fifty|sixty|ninety|a hundred|one hundred"
)
_NUMBER = rf"(?:(?:{DIGITS}|{_WORDS})(?: (?:hundred|thousand|million|billion))?)"
_IRREGULAR = (
    "built|born|written|held|made|founded|set|put|paid|sold|bought|taken|given|known|sent|found|brought|drawn|shown|cut|"
    "lost|won|spent|kept|led|read|chosen|thrown|broken|torn|laid|left|met|taught|told|begun|run"
)
_PARTICIPLE = rf"(?:\w+ed|{_IRREGULAR})"
_NOT_TERMS = re.compile(
    r"^(?:this|that|these|those|it|there|here|he|she|they|we|you|i|what|which|who|whose|if|when|where|why|how|while|"
    r"each|every|all|some|no|none|one|another|both|others|its|his|her|their|your|my|our|as|in|on|at|by|for|from|with|"
    r"to|after|before|since|until|because|although|but|and|or|so|nor|then|also|only|most|many|few|more|first|second|"
    r"long|even|just|during|under|over|between|among|despite|according|within|without|through|about|against|like|unlike|upon|however|later|early|once|now|often|"
    r"third|last|next|same|such|other|anything|everything|nothing|something|thus|yet|today|part|result|reason)\b"
    r"|\b(?:and|or|that|which|who|because|if|when|but|where|than|whether|now|often|examples?|itself|themselves|is|are|was|were|has|have|can|will|must|should|not)\b",
    re.IGNORECASE,
)
_TERM = r"(?:(?P<article>A|An|The) )?(?P<term>[\w.`’'/-]+(?: [\w.`’'/-]+){0,4})"
_DEFINITION = re.compile(
    rf"^{_TERM} (?P<be>is|are|was) (?P<what>(?:an? |one of |the \w+ (?:of|that|in|for|from|with|which|where|who) |"
    r"the \w+ \w+ (?:of|that|in|for|from|which|who) |(?:two|three|four|five) ).+)"
)
_PLURAL = re.compile(
    rf"^(?P<term>[A-Z][\w-]+(?: [\w-]+){{0,3}}) are (?P<what>(?!{_PARTICIPLE}\b)[a-z]\w+s (?:that|of|which|who|for|in|with)\b.+)"
)
_EMPTY = re.compile(
    r"^(?:an? )?(?:the )?(?:one|good|bad|same|matter|case|must|first|second|last|third|reason|way|lot|few|little|bit|only|next|"
    r"error|problem|result|example|mistake|question|better|best|worst|sign|pity|list of|copy)\b"
)  # fmt: skip
_PERSON = re.compile(
    r"^(?:an?|the) (?:[\w-]+,? ){0,4}?(?:writer|poet|author|politician|singer|actor|actress|player|footballer|president|king|"
    r"queen|scientist|physicist|chemist|lawyer|judge|minister|painter|composer|musician|artist|philosopher|engineer|priest|"
    r"general|journalist|director|professor|historian|mathematician|economist|architect|physician|bishop|saint)\b"
)
_WHEN = re.compile(
    rf"^(?P<subject>.+?) (?P<aux>was|were|is|are) (?P<verb>(?:\w+ly )?{_PARTICIPLE})(?P<rest>(?: .+?)?) "
    rf"(?:on|in|by|since) (?P<answer>{_DATE})(?P<more>[.,].*)?$"
)
_WHEN_FIRST = re.compile(
    rf"^(?:On|In) (?P<answer>{_DATE}),? (?P<subject>.+?) (?P<aux>was|were) (?P<verb>{_PARTICIPLE})(?P<rest>(?: [^,;]+)?)\.$"
)
_PAST = {
    "began": "begin", "started": "start", "ended": "end", "opened": "open", "closed": "close", "died": "die",
    "happened": "happen", "occurred": "occur", "came into force": "come into force", "entered into force": "enter into force",
    "took effect": "take effect", "took place": "take place", "became independent": "become independent",
    "won the": "win the", "moved to": "move to", "joined": "join", "discovered": "discover", "arrived": "arrive",
}  # fmt: skip
_PRESENT = {"expires": "expire", "begins": "begin", "starts": "start", "ends": "end", "takes effect": "take effect",
            "comes into force": "come into force", "closes": "close", "opens": "open"}  # fmt: skip
_DID = re.compile(
    rf"^(?P<subject>.+?) (?P<verb>{'|'.join([*_PAST, *_PRESENT])})(?P<rest>(?: .+?)?) (?:on|in) (?P<answer>{_DATE})(?P<more>[.,].*)?$"
)
_HAVE = re.compile(
    rf"^(?P<subject>.+?) (?P<verb>has|have|had|contains|contain|needs|need|includes|include) (?:(?:about|only|at most|at least|exactly|up to) )?"
    rf"(?P<answer>{_NUMBER}) (?P<noun>(?:[\w-]+ ){{0,2}}?(?:[\w-]+s|people|children|men|women))(?P<rest>(?: (?:in|of|on|for|per|with|at)\b (?:[^,;.]|\.(?=\w))+)?)[.,]"
)
_THERE = re.compile(
    rf"^There (?P<be>are|were) (?:(?:about|only|at most|at least|exactly) )?(?P<answer>{_NUMBER}) "
    r"(?P<noun>(?:[\w-]+ ){0,2}?(?:[\w-]+s|people|children|men|women))(?P<rest> (?:in|on|at|within|inside) (?:[^,;.]|\.(?=\w))+)\."
)
_MONEY = r"(?:dollars|reais|euros|pounds|R\$|US\$|€|\$|£)"
_AMOUNT = re.compile(
    rf"^(?P<subject>.+?) (?P<be>is|are|was|were) (?:(?:about|only|at most|at least|exactly|up to) )?"
    rf"(?P<answer>(?:R\$|US\$|€|\$|£) ?(?:{DIGITS})|{_NUMBER} (?P<unit>%|[kMGT]?B|[ck]?m|k?g|days?|hours?|minutes?|seconds?|weeks?|months?|years?|tokens|percent|reais|dollars|euros|pounds|pages|characters|metres|meters|miles|kilometres|kilometers|people|inhabitants)(?: per \w+)?)(?:[.,;]| (?:of|per|a|for|in|and)\b)"
)
_WITHIN = re.compile(
    rf"^(?P<subject>.+?) (?P<aux>is|are|was|were|must be|has to be|have to be|can be|may be|should be) (?P<verb>{_PARTICIPLE})"
    rf"(?P<rest>(?: [^,;]+?)?) (?:within|in at most) (?P<answer>{_NUMBER} (?P<unit>(?:\w+ )?(?:days?|hours?|months?|weeks?|years?|minutes?)))"
    r"(?P<more>(?: (?:[^,;.]|\.(?=\w))+)?)[.,]"
)
_BY = re.compile(
    rf"^(?P<subject>.+?) (?P<aux>was|were|is|are) (?P<verb>{_PARTICIPLE})(?P<rest>(?: [^,;]+?)?) by (?P<answer>(?:the )?{NAME})(?P<more>[.,]| (?:in|on|and)\b)"
)
_ROLES = "president|director|author|head|minister|mayor|secretary|manager|chair|chairman|owner|founder|coordinator|editor|governor|king|queen|leader|capital|headquarters"
_WHO = re.compile(
    rf"^(?P<subject>The (?:[\w-]+ )?(?P<role>{_ROLES}) of [^,;.]+?) (?P<be>is|was) (?P<answer>{NAME}|(?-i:[A-Z]\w+))[.,]"
)
_WHERE = re.compile(
    r"^(?P<subject>.+?) (?P<aux>is|are|was|were) (?P<verb>located|situated|kept|stored|buried|born|headquartered) "
    r"(?P<answer>(?:in|on|at|near|under|below|beside) (?:[^,;.]|\.(?=\w))+)(?P<more>[.,;])"
)
_IMPERATIVE = listed(
    """add allow answer ask attach begin build call change check choose click close compare connect contact convert
    copy create cut define delete describe disable download edit enable enter erase export extract fill find follow
    give go hold import include index ingest insert install keep leave list load look make mark measure move name
    open paste pick place point press print publish pull put read rebuild register remove rename repeat replace
    report request reset restart restore return rotate run save say search select send set show sign split start
    stop store submit switch take tell test train translate try turn type undo uninstall unpack update upgrade
    upload use verify wait watch write protect serve teach limit raise lower fit back"""
)
_TO = re.compile(r"^To (?P<do>(?P<verb>[a-z]+)\b[^,:;.]+?)(?:,|:) (?P<then>.+)$")
_MINE = {"your": "my", "yours": "mine", "yourself": "myself"}
_LIST = re.compile(r"^(?P<subject>[A-Z][^,;:.]+?) (?P<be>are|is)(?: as follows| the following| these)?:$")
_FOLLOWING = re.compile(
    r"^The following (?P<noun>[\w -]+?) (?P<rest>(?:are|is|can be|must be|have to be|may be) [^:]+):$"
)


def sentence(text: str, names: Names) -> Iterator[Made]:
    """See ``grammar.Grammar``."""
    yield from _definitions(text, names)
    if (m := _WHEN.match(text) or _WHEN_FIRST.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        subject = names.inside(m["subject"])
        yield Made("date", asked(f"when {m['aux']} {subject} {m['verb']}{m['rest']}"), m["answer"])
    elif (m := _DID.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        verb, past = m["verb"], m["verb"] in _PAST
        do = "did" if past else "does"
        base = _PAST[verb] if past else _PRESENT[verb]
        yield Made("date", asked(f"when {do} {names.inside(m['subject'])} {base}{m['rest']}"), m["answer"])
    if (
        (m := _HAVE.match(text))
        and _subject(m["subject"])
        and short(m["rest"])
        and not m["noun"].startswith(("more ", "other "))
    ):
        verb = m["verb"]
        base = "have" if verb in ("has", "had") else verb.removesuffix("s")
        do = "did" if verb == "had" else "does" if verb.endswith("s") else "do"
        question = f"how many {m['noun']} {do} {names.inside(m['subject'])} {base}{m['rest']}"
        yield Made("number", asked(question), m["answer"])
    if (m := _THERE.match(text)) and short(m["rest"]):
        yield Made("number", asked(f"how many {m['noun']} {m['be']} there{m['rest']}"), m["answer"])
    if (m := _WITHIN.match(text)) and _subject(m["subject"]) and short(m["rest"], m["more"]):
        aux, _, be = m["aux"].partition(" ")
        subject, rest = names.inside(m["subject"]), f"{m['verb']}{m['rest']}{m['more']}"
        if be.startswith("to"):  # has to be
            aux, be = ("does", "have to be") if aux == "has" else ("do", "have to be")
        unit = m["unit"] if m["unit"].endswith("s") else f"{m['unit']}s"
        yield Made("number", asked(f"within how many {unit} {aux} {subject} {be} {rest}"), m["answer"])
    elif (m := _AMOUNT.match(text)) and _subject(m["subject"]) and (m["unit"] or "") not in ("of", "and", "or", "to"):
        money = re.search(_MONEY, m["answer"])
        opening = "how much" if money else "what"
        if money or (m["be"] in ("is", "was") and re.match(r"The\b", m["subject"])):
            yield Made("number", asked(f"{opening} {m['be']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _BY.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        question = f"by whom {m['aux']} {names.inside(m['subject'])} {m['verb']}{m['rest']}"
        yield Made("name", asked(question), m["answer"])
    if m := _WHO.match(text):
        who = "what" if m["role"] in ("capital", "headquarters") else "who"
        yield Made("name", asked(f"{who} {m['be']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _WHERE.match(text)) and _subject(m["subject"]) and " and " not in m["answer"]:
        yield Made("place", asked(f"where {m['aux']} {names.inside(m['subject'])} {m['verb']}"), m["answer"])
    if (m := _TO.match(text)) and m["verb"] not in ("be", "have", "do", "what", "that", "this", "all"):
        then = re.match(r"(?:first |then )?([a-z]+)", m["then"])
        if then and then[1] in _IMPERATIVE and _can_be_asked(m["do"]):
            yield Made("how", f"How do I {_mine(m['do'])}?")


def _definitions(text: str, names: Names) -> Iterator[Made]:
    if (m := _DEFINITION.match(text)) and not _NOT_TERMS.search(m["term"]) and not _EMPTY.match(m["what"]):
        article, term = m["article"], m["term"]
        person = bool(_PERSON.match(m["what"]))
        if article is None:
            if m["be"] == "is" and not (names.proper(term.split()[0]) or person):
                term = names.inside(term)  # a mass noun: "Retrieval is a …"
            if (m["be"] == "was" and not person) or (m["be"] == "are" and not term.endswith("s")):
                return
        elif article == "The" and _one_of_many(term):
            return
        subject = f"{article.lower()} {term}" if article else term
        if len(m["what"].split()) >= 3:
            yield Made("definition", asked(f"{'who' if person and not article else 'what'} {m['be']} {subject}"))
    elif (m := _PLURAL.match(text)) and not _NOT_TERMS.search(m["term"]) and m["term"].endswith("s"):
        yield Made("definition", asked(f"what are {names.inside(m['term'])}"))


def _one_of_many(term: str) -> bool:
    """ "The file", "the example": which one, a question alone does not say."""
    return " " not in term and term.lower() in _VAGUE


_VAGUE = listed(
    """file thing example answer result text page line folder directory command option value name number word list
    table row column document question problem idea point reason goal aim purpose method work study paper book city
    country man woman company team group system program programme process step rest difference most other town area"""
)


def heading(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if (m := re.match(r"How to (.+)$", text)) and short(m[1]):
        return f"How do I {_mine(m[1])}?" if _can_be_asked(m[1]) else ""
    words = text.split()
    if 2 <= len(words) <= 9 and words[0].istitle() and words[0].lower() in _IMPERATIVE and short(text):
        # "Search settings", "List prices": an imperative has an object with a determiner, a name or a plural.
        if re.match(r"(?:an?|the|your|all|more|new|several|\w+s|[A-Z]\w+)\b", words[1]):
            return f"How do I {_mine(text[:1].lower() + text[1:])}?" if _can_be_asked(text) else ""
    return ""


def introduced(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if m := _FOLLOWING.match(text):
        return asked(f"which {m['noun']} {m['rest']}")
    if (m := _LIST.match(text)) and _subject(m["subject"]):
        return asked(f"what {m['be']} {names.inside(m['subject'])}")
    return ""


def means(term: str) -> str:
    """See ``grammar.Grammar``."""
    return f"What does “{term}” mean?"


_VERBS = {"holds": "hold", "contains": "contain", "does": "do", "means": "mean", "shows": "show", "needs": "need"}
_MEANING = frozenset({"meaning", "description", "explanation", "what it means", "definition", "what it does", "effect"})


def cell(header: str, key_header: str, key: str) -> str:
    """See ``grammar.Grammar``."""
    head, kind = header.lower() if not header.isupper() else header, key_header.lower()
    kind = "" if kind in ("name", "id", "item") else kind
    if head in _VERBS:
        return f"What does the {kind} {key} {_VERBS[head]}?" if kind else f"What does {key} {_VERBS[head]}?"
    if head in ("what it does", "effect"):
        return f"What does the {kind} {key} do?" if kind else ""
    if head in _MEANING:
        return f"What does the {kind} {key} mean?" if kind else means(key)
    if not re.fullmatch(r"[\w-]+(?: [\w-]+){0,3}", head) or _NOT_TERMS.search(head) or head in ("notes", "example"):
        return ""
    be = "are" if head.endswith("s") and not head.endswith(("ss", "us", "is")) else "is"
    return f"What {be} the {head} of {f'the {kind} ' if kind else ''}{key}?"


def is_definition(text: str) -> bool:
    """See ``grammar.Grammar``."""
    return bool(re.match(r"(?:an?|the|any|every|one) ", text, re.IGNORECASE)) and not _EMPTY.match(text.lower())


def _subject(text: str) -> bool:
    """Whether a subject names what it speaks of, and is one noun phrase."""
    if not short(text) or "," in text or _NOT_TERMS.match(text):
        return False
    return not re.search(r"\b(?:it|this|these|that|which|who|they|he|she|and|or|but|if|when|because|is|are|was|were|has|have|"
                         r"can|will|must|not|you|we|I)\b", text)  # fmt: skip


def _can_be_asked(text: str) -> bool:
    """Whether a purpose says what it is about, without "it" and "you"."""
    return short(text) and not re.search(
        r"\b(?:it|its|this|that|these|those|them|they|you|so|one|ones)\b", text, re.IGNORECASE
    )


def _mine(text: str) -> str:
    return re.sub(r"\b(?:your|yours|yourself)\b", lambda match: _MINE[match[0]], text)
