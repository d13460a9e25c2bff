# ruff: noqa: E501, SIM102 — a pattern is read whole, and conditions one after another
"""Portuguese: the order of words stays in a question, so that most sentences become one by their first word.

Articles and contractions follow the gender of the noun, which its ending tells (:func:`gender`); where it does not,
nothing is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lavra.assistants.questions.blocks import Names, listed
from lavra.assistants.questions.grammar import DIGITS, NAME, Made, asked, short

CODE = "pt"
DANGLING = re.compile(
    r"\b(?:ele|ela|eles|elas|isso|isto|aquilo|nele|nela|dele|dela|deles|delas|nisso|nisto|disso|disto|aqui|lá"
    r"|[nd]?est[ea]s?|[nd]?ess[ea]s?|[nd]?aquel[ea]s?|[od]s? mesm[oa]s?|os? (?:seguinte|outro|resto|anterior)s?)\b"
    r"(?! (?:manual|guia|página|país|estado)\b)"
    r"|^O que (?:é|são) (?:o |a |os |as |uma? )?(?:coisa|resposta|resultado|motivo|razão|jeito|exemplo|primeir[oa]|segund[oa]|"
    r"últim[oa]|número|nome|texto|pergunta|linha|valor|palavra|parte|tipo|lista|tabela|ordem|ponto|problema|caso|objetivo)s?\?",
    re.IGNORECASE,
)
_MONTHS = "janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro"
_DATE = rf"(?:\d{{1,2}}º? de (?:{_MONTHS}) de \d{{4}}|(?:{_MONTHS}) de \d{{4}}|\d{{1,2}}/\d{{1,2}}/\d{{4}}|(?:1\d|20)\d\d(?![.,]\d))"
_WORDS = (
    "dois|duas|três|quatro|cinco|seis|sete|oito|nove|dez|onze|doze|treze|catorze|quatorze|quinze|dezesseis|dezoito|vinte|"
    "trinta|quarenta|cinquenta|sessenta|setenta|oitenta|noventa|cem|cento e vinte|cento e oitenta"
)
_NUMBER = rf"(?:(?:{DIGITS}|{_WORDS})(?: (?:mil|milhão|milhões|bilhões)(?: de)?)?)"
_ARTICLE = r"(?:O|A|Os|As|Um|Uma)"
_NOT_TERMS = re.compile(
    r"^(?:ele|ela|eles|elas|isso|isto|aquilo|est[ea]s?|ess[ea]s?|aquel[ea]s?|que|qual|quais|quem|se|quando|onde|como|porque|"
    r"cada|tod[oa]s?|alguns?|algumas?|nenhuma?|outr[oa]s?|ambos|seus?|suas?|meus?|minhas?|em|no|na|nos|nas|por|pelo|pela|"
    r"com|sem|para|de|do|da|após|depois|antes|desde|até|mas|e|ou|então|também|só|apenas|mais|muit[oa]s?|pouc[oa]s?|primeir[oa]|"
    r"segund[oa]|últim[oa]|mesm[oa]|tal|tudo|nada|algo|assim|hoje|aqui|lá|já|não|sim|há|é|são|parte|isto)\b"
    r"|\b(?:e|ou|que|porque|se|quando|mas|onde|exemplos?|mesm[oa]s?|agora|é|são|foi|foram|tem|têm|pode|deve|não|está|estão)\b",
    re.IGNORECASE,
)
_TERM = rf"(?:(?P<article>{_ARTICLE}) )?(?P<term>[\w.’'/-]+(?: [\w.’'/-]+){{0,5}}?)"
_DEFINITION = re.compile(
    rf"^{_TERM} (?P<be>é|são|foi) (?P<what>(?:uma? |uns |umas |qualquer |cada |[oa]s? \w+ (?:que|de|do|da|dos|das|em|no|na|para|com) |"
    r"(?:dois|duas|três|quatro) ).+)"
)
_MEANS = re.compile(rf"^{_TERM} (?P<be>significa|quer dizer) (?P<what>.+)")
_LEGAL = re.compile(
    r"(?:^|: |, )(?P<verb>[Cc]onsideram?-se|[Ee]ntende-se por|[Dd]enomina-se|[Dd]efine-se como) (?P<term>[\w-]+(?: [\w-]+){0,4}?),? "
    r"(?P<what>(?:tod[oa] )?(?:[oa]s?|uma?|aquel[ea]s?) .+)"
)
_EMPTY = re.compile(
    r"^(?:uma? |[oa]s? )?(?:bo[am]|má|mau|mesm[oa]|questão|caso|primeir[oa]|segund[oa]|últim[oa]|terceir[oa]|razão|motivo|jeito|"
    r"erro|pouco|únic[oa]|próxim[oa]|problema|resultado|exemplo|erro|pergunta|melhor|pior|sinal|mais|dos|das|que|cópia)\b"
)
_PERSON = re.compile(
    r"^(?:um|uma|o|a) (?:[\w-]+,? ){0,2}?(?:escritora?|poeta|poetisa|autora?|polític[oa]|cantora?|ator|atriz|jogadora?|futebolista|"
    r"presidente|rei|rainha|cientista|físic[oa]|químic[oa]|advogad[oa]|juíza?|ministr[oa]|pintora?|compositora?|músic[oa]|artista|"
    r"filósof[oa]|engenheir[oa]|padre|general|jornalista|diretora?|professora?|historiadora?|matemátic[oa]|economista|"
    r"arquitet[oa]|médic[oa]|bispo|sant[oa])\b"
)
_PARTICIPLE = r"\w+(?:ad|id)[oa]s?|feit[oa]s?|escrit[oa]s?|dit[oa]s?|abert[oa]s?|post[oa]s?|vist[oa]s?|pag[oa]s?|eleit[oa]s?|composts?|propost[oa]s?|ganh[oa]s?|aceit[oa]s?|entregues?"
_PAST = r"(?!museu\b|europeu\b|meu\b|seu\b|teu\b|liceu\b|ateu\b|céu\b|réu\b)[a-zà-ÿ]{2,}(?:ou|eu|iu|aram|eram|iram)\b"
_PRESENT = r"(?:entra|entram|começa|começam|termina|terminam|vence|vencem|abre|abrem|fecha|fecham|ocorre|ocorrem|expira|inicia)\b"
_VERB = rf"(?:(?:foi|foram|é|são|será|serão) (?:{_PARTICIPLE})\b|{_PAST}|{_PRESENT})"
_WHEN = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>{_VERB})(?P<rest>(?: [^,;:]+?)?) (?:em|no dia|a partir de|desde) (?P<answer>{_DATE})(?P<more>[.,;].*)?$"
)
_WHEN_FIRST = re.compile(
    rf"^Em (?P<answer>{_DATE}), (?P<subject>[^,;:]+?) (?P<verb>{_VERB})(?P<rest>(?: [^,;:.]+)?)\.$"
)
_NOUN = r"(?P<noun>(?P<head>[a-zà-ÿ-]+)(?: (?:de |úteis|corridos|consecutivos|diferentes|públicos|públicas|federais)[a-zà-ÿ-]*)?)"
_HAVE = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>tem|têm|tinha|tinham|possui|possuem|contém|contêm|lê|usa|usam|exige|exigem) "
    rf"(?:(?:cerca de|apenas|no máximo|ao menos|pelo menos|até|exatamente) )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest>(?: (?:em|no|na|nos|nas|de|do|da|por|para|com) (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_RIGHT = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>tem|têm|terá|terão) direito a (?:até )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest>(?: (?:em|no|na|por|para|a cada) (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_THERE = re.compile(
    rf"^(?P<verb>Há|Existem|Havia) (?:(?:cerca de|apenas|ao menos) )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest> (?:em|no|na|nos|nas|entre) (?:[^,;.]|\.(?=\w))+)\."
)
_AMOUNT = re.compile(
    rf"^(?P<subject>{_ARTICLE} [^,;:]+?) (?P<verb>é|são|era|será) de (?:(?:cerca de|até|no máximo|no mínimo) )?"
    rf"(?P<answer>(?:R\$|US\$|€) ?(?:{DIGITS})(?: (?:mil|milhões|bilhões))?|{_NUMBER}(?:%| (?:[a-zà-ÿ²³]+|MB|GB|KB|km|kg|m)(?: (?:por|de) \w+)?))(?=[.,;]|\s)"
)
_MEASURE = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>dura|duram|custa|custam|mede|medem|pesa|pesam|ocupa|ocupam) "
    rf"(?:(?:cerca de|até|no máximo) )?(?P<answer>(?:R\$ ?)?{_NUMBER}(?: [\w²³]+)?)(?P<rest>(?: (?:por|para|em) (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_SPAN = r"(?:dias?(?: úteis| corridos)?|horas?|meses|semanas?|anos?|minutos?|segundos?)"
_WITHIN = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:é|são|será|serão|deve ser|devem ser|foi|pode ser|podem ser) (?:{_PARTICIPLE})\b|[a-zà-ÿ]+ (?=em até|no prazo))"
    rf"(?P<rest>(?: [^,;:]+?)?) ?(?:em até|no prazo de|no prazo máximo de|dentro de) (?P<answer>{_NUMBER} {_SPAN})(?P<more>(?: (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_AHEAD = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:é|são|será|serão|deve ser|devem ser) (?:{_PARTICIPLE}))(?P<rest>(?: [^,;:]+?)?) com "
    rf"(?:(?:ao menos|no mínimo) )?(?:antecedência (?:mínima )?de (?P<late>{_NUMBER} {_SPAN})|(?P<answer>{_NUMBER} {_SPAN}) de antecedência)"
)
_BY = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:foi|foram|é|são) (?:{_PARTICIPLE})\b)(?P<rest>(?: [^,;:]+?)?) (?P<prep>por|pelo|pela|pelos|pelas) (?P<answer>{NAME})(?P<more>[.,;]| (?:em|e|para)\b)"
)
_ROLES = "presidente|diretor|diretora|autor|autora|chefe|ministro|ministra|prefeito|prefeita|secretário|secretária|gerente|dono|dona|fundador|fundadora|coordenador|coordenadora|editor|editora|governador|governadora|rei|rainha|líder|capital|sede"
_WHO = re.compile(
    rf"^(?P<subject>[OA] (?P<role>{_ROLES}) (?:d[aeo]s?|em) [^,;.]+?) (?P<verb>é|foi|era) (?:o |a )?(?P<answer>{NAME}|[A-ZÀ-Þ]\w+)[.,]"
)
_WHERE = re.compile(
    r"^(?P<subject>[^,;:]+?) (?P<verb>fica|ficam|está localizad[oa]|estão localizad[oa]s|localiza-se|situa-se|nasceu|morreu) "
    r"(?P<answer>(?:em|no|na|nos|nas|abaixo d[eoa]|ao lado d[eoa]) (?:[^,;.]|\.(?=\w))+)[.,;]"
)
_INFINITIVE = r"(?!lugar\b|mulher\b|lar\b|par\b|mar\b|ar\b|bar\b|qualquer\b|prazer\b|ser\b|estar\b|ter\b|haver\b|poder\b|militar\b|escolar\b|familiar\b|dever\b|exemplar\b|particular\b|popular\b|regular\b|similar\b|celular\b|titular\b|açúcar\b|elementar\b|preliminar\b|disciplinar\b|parlamentar\b|auxiliar\b|lazer\b|poder\b|mister\b|caráter\b|líder\b)[a-zà-ÿ]{2,}(?:ar|er|ir|por)(?:-se)?"
_TO = re.compile(rf"^Para (?P<do>(?P<verb>{_INFINITIVE})\b[^,:;.]*?)(?:,|:) (?P<then>.+)$")
_IMPERATIVE = listed(
    """abra acrescente adicione altere anexe apague aperte atualize aumente baixe busque chame clique coloque compare
    complete comece confira configure confirme conecte conserve consulte converta copie corrija corte crie defina
    deixe desative descreva digite diminua divida edite encerre entre envie escolha escreva espere execute exporte
    extraia faça feche guarde importe inclua indique inicie informe ingira insira instale junte leia liste limpe
    mande mantenha marque mova mude nomeie observe obtenha organize passe pare peça pergunte ponha preencha prepare
    pressione procure proteja publique reconstrua registre reinicie remova renomeie repita responda restaure retire
    revise rode salve selecione separe siga sirva solicite substitua suba teste tire toque traduza treine troque use
    utilize veja verifique volte dê diga vá"""
)
_MINE = {"seu": "meu", "sua": "minha", "seus": "meus", "suas": "minhas"}
_LIST = re.compile(r"^(?P<article>O|A|Os|As) (?P<subject>[^,;:.]+?) (?P<be>é|são)(?: os seguintes| as seguintes)?:$")
_FOLLOWING = re.compile(
    r"^(?P<subject>[^,;:.]+?) (?P<verb>tem|têm|lê|usa|aceita|inclui|contém|exige|oferece) (?:estes|estas|os seguintes|as seguintes) (?P<noun>[\w -]+):$"
)


def sentence(text: str, names: Names) -> Iterator[Made]:
    """See ``grammar.Grammar``."""
    yield from _definitions(text, names)
    if (m := _WHEN.match(text) or _WHEN_FIRST.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        yield Made("date", asked(f"quando {names.inside(m['subject'])} {m['verb']}{m['rest']}"), m["answer"])
    for pattern, opening in ((_HAVE, ""), (_RIGHT, "a ")):
        if (
            (m := pattern.match(text))
            and _subject(m["subject"])
            and short(m["rest"])
            and (many := _how_many(m["head"]))
        ):
            right = " direito" if opening else ""
            question = f"{opening}{many} {m['noun']} {names.inside(m['subject'])} {m['verb']}{right}{m['rest']}"
            yield Made("number", asked(question), m["answer"])
    if (m := _THERE.match(text)) and short(m["rest"]) and (many := _how_many(m["head"])):
        yield Made("number", asked(f"{many} {m['noun']} {m['verb'].lower()}{m['rest']}"), m["answer"])
    if (m := _AMOUNT.match(text)) and _subject(m["subject"]):
        yield Made("number", asked(f"de quanto {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _MEASURE.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        yield Made("number", asked(f"quanto {m['verb']} {names.inside(m['subject'])}{m['rest']}"), m["answer"])
    if (m := _WITHIN.match(text)) and _subject(m["subject"]) and short(m["rest"], m["more"]):
        clause = f"{names.inside(m['subject'])} {m['verb'].strip()}{m['rest'].rstrip()}{m['more']}"
        yield Made("number", asked(f"em quanto tempo {clause}"), m["answer"])
    if (m := _AHEAD.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        clause = f"{names.inside(m['subject'])} {m['verb']}{m['rest']}"
        yield Made("number", asked(f"com quanta antecedência {clause}"), m["answer"] or m["late"])
    if (m := _BY.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        yield Made("name", asked(f"por quem {names.inside(m['subject'])} {m['verb']}{m['rest']}"), m["answer"])
    if m := _WHO.match(text):
        who = "qual" if m["role"] in ("capital", "sede") else "quem"
        yield Made("name", asked(f"{who} {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _WHERE.match(text)) and _subject(m["subject"]) and " e " not in m["answer"]:
        yield Made("place", asked(f"onde {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _TO.match(text)) and _can_be_asked(m["do"]) and len(m["do"].split()) > 1:
        then = re.match(r"(?:primeiro )?([\wà-ÿ]+)", m["then"])
        if then and then[1] in _IMPERATIVE:
            yield Made("how", asked(f"como {_mine(m['do'])}"))


def _definitions(text: str, names: Names) -> Iterator[Made]:
    if (m := _LEGAL.search(text)) and not _NOT_TERMS.search(m["term"]):
        verb = "entende por" if "por" in m["verb"] else "denomina" if "enomina" in m["verb"] else "considera"
        yield Made("definition", asked(f"o que se {verb} {m['term']}"))
        return
    for pattern in (_DEFINITION, _MEANS):
        if not (m := pattern.match(text)) or _NOT_TERMS.search(m["term"]) or _EMPTY.match(m["what"]):
            continue
        article, term, be = m["article"], m["term"], m["be"]
        if article is None and re.match(rf"{_INFINITIVE} ", term.lower()):
            continue  # "Realizar um curso é …"
        person = pattern is _DEFINITION and bool(_PERSON.match(m["what"]))
        if article in ("O", "A", "Os", "As") and " " not in term and term.lower() in _VAGUE:
            return
        if be == "foi" and not (person and article is None):
            return
        if article is None and (be == "são" or not names.proper(term.split()[0])):
            term = names.inside(term)
        subject = f"{article.lower()} {term}" if article else term
        if pattern is _MEANS:
            yield Made("definition", asked(f"o que {be} {subject}"))
        elif person and (article is None or names.proper(term.split()[0])):
            yield Made("definition", asked(f"quem {be} {subject}"))
        elif len(m["what"].split()) >= 3:
            yield Made("definition", asked(f"o que {be} {subject}"))
        return


_VAGUE = listed(
    """arquivo coisa exemplo resposta resultado texto página linha pasta comando opção valor nome número palavra lista
    tabela coluna documento pergunta problema ideia ponto motivo razão objetivo método trabalho estudo livro cidade
    país homem mulher empresa equipe grupo sistema programa processo passo resto diferença maioria área ideal final"""
)


def heading(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if (m := re.match(rf"Como ((?:{_INFINITIVE})\b.+)$", text)) and short(m[1]):
        return asked(f"como {_mine(m[1])}") if _can_be_asked(m[1]) else ""
    first, _, rest = text.partition(" ")
    if re.fullmatch(_INFINITIVE, first.lower()) and first.istitle() and short(text) and _can_be_asked(rest):
        if re.match(r"(?:[oa]s?|uma?s?|seus?|suas?|[A-ZÀ-Þ]\w+|\w+s)\b", rest):
            return asked(f"como {first.lower()} {_mine(rest)}")
    return ""


def introduced(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if m := _LIST.match(text):
        article = m["article"].lower()
        if _subject(f"{m['article']} {m['subject']}"):
            return asked(f"{'quais' if m['be'] == 'são' else 'qual'} {m['be']} {article} {m['subject']}")
    if (m := _FOLLOWING.match(text)) and _subject(m["subject"]):
        return asked(f"que {m['noun']} {names.inside(m['subject'])} {m['verb']}")
    return ""


def means(term: str) -> str:
    """See ``grammar.Grammar``."""
    return f"O que significa “{term}”?"


_MEANING = frozenset({"significado", "descrição", "explicação", "o que significa", "definição"})
_VERBS = frozenset({"guarda", "contém", "faz", "significa", "indica", "mostra", "exige"})
_DOES = frozenset({"o que faz", "efeito", "função"})


def cell(header: str, key_header: str, key: str) -> str:
    """See ``grammar.Grammar``."""
    head, kind = header if header.isupper() else header.lower(), key_header.lower()
    kind = "" if kind in ("nome", "id", "item") else kind
    kind_gender, head_gender = gender(kind.split()[0]) if kind else None, gender(head.split()[0]) if head else None
    if head in _VERBS and (kind_gender or not kind):
        return f"O que {head} {f'{kind_gender} {kind} ' if kind else ''}{key}?"
    if head in _DOES and kind_gender:
        return f"O que faz {kind_gender} {kind} {key}?"
    if head in _MEANING:
        return f"O que significa {kind_gender} {kind} {key}?" if kind_gender else means(key)
    if not re.fullmatch(r"[\w-]+(?: [\w-]+){0,3}", head) or head_gender is None or _NOT_TERMS.search(head):
        return ""
    if kind and (kind_gender is None or plural(kind.split()[0])):
        return ""
    of = f"d{kind_gender} {kind} {key}" if kind else f"de {key}"
    many = plural(head.split()[0])
    return f"{'Quais são' if many else 'Qual é'} {head_gender}{'s' if many else ''} {head} {of}?"


def is_definition(text: str) -> bool:
    """See ``grammar.Grammar``."""
    return bool(re.match(r"(?:uma?|[oa]s?|qualquer|tod[oa]|aquel[ea]) ", text, re.IGNORECASE)) and not _EMPTY.match(
        text.lower()
    )


_MASCULINE = listed(
    """dia mapa problema sistema programa tema idioma clima esquema poema formato telegrama diploma telefonema nome
    limite nível mês país papel índice cliente agente documento período ambiente token byte padrão preço host
    arquivo"""
)
_FEMININE = listed(
    """chave base fonte parte classe frase rede sede vez lei taxa foto tribo mão ordem imagem data hora série fase
    sigla tese língua página senha porta pasta cidade"""
)


def gender(word: str) -> str | None:
    """``o`` or ``a``, by a noun's ending; None where it does not tell."""
    word = word.lower()
    single = singular(word)
    if single in _MASCULINE:
        return "o"
    if single in _FEMININE or re.search(r"(?:ção|são|dade|gem|tude|ície|eza|ência|ância)$", single):
        return "a"
    if re.search(r"(?:a|ã)$", single):
        return "a"
    if re.search(r"(?:o|or|l|m|u|ê|ão|é)$", single):
        return "o"
    return None


def singular(word: str) -> str:
    """The singular of a regular plural."""
    for ending, single in (("ções", "ção"), ("sões", "são"), ("ões", "ão"), ("ais", "al"), ("eis", "el"), ("res", "r"),
                           ("ns", "m"), ("meses", "mês"), ("zes", "z")):  # fmt: skip
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + single
    if word == "meses":
        return "mês"
    return word[:-1] if word.endswith("s") and word not in ("mês", "país") and len(word) > 3 else word


def plural(word: str) -> bool:
    """Whether a noun is one."""
    return singular(word.lower()) != word.lower()


def _how_many(head: str) -> str:
    """``quantos`` or ``quantas`` of a plural noun; "" where its gender or number is not known."""
    if not plural(head) and head != "pessoas":
        return ""
    kind = gender(head)
    return {"o": "quantos", "a": "quantas"}[kind] if kind else ""


def _subject(text: str) -> bool:
    """Whether a subject names what it speaks of, and is one noun phrase."""
    if not short(text) or "," in text or _NOT_TERMS.match(text):
        return False
    return not re.search(
        r"\b(?:ele|ela|eles|elas|isso|isto|est[ea]s?|ess[ea]s?|aquel[ea]s?|que|quem|e|ou|mas|se|quando|porque|é|são|foi|"
        r"foram|tem|têm|pode|podem|deve|devem|não|está|estão|há|você|nós|depois|seu|sua|seus|suas)\b",
        text,
    )


def _can_be_asked(text: str) -> bool:
    """Whether a purpose says what it is about."""
    if re.match(r"\w+ (?:em|no|na|nos|nas)\b", text):
        return False  # "desligar em uma chave": what?
    return short(text) and not re.search(
        r"\b(?:ele|ela|eles|elas|isso|isto|[nd]?est[ea]s?|[nd]?ess[ea]s?|você|-l[oa]s?|outro|outra)\b|-(?:l|n)?[oa]s?\b",
        text,
    )


def _mine(text: str) -> str:
    return re.sub(r"\b(?:seus?|suas?)\b", lambda match: _MINE[match[0]], text)
