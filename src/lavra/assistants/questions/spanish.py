# ruff: noqa: E501, SIM102 — a pattern is read whole, and conditions one after another
"""Spanish: the verb comes before the subject in a question, which begins with an inverted mark."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lavra.assistants.questions.blocks import Names, listed
from lavra.assistants.questions.grammar import DIGITS, NAME, Made, asked, short

CODE = "es"
DANGLING = re.compile(
    r"\b(?:él|ella|ellos|ellas|eso|esto|aquello|aquí|allí|est[ea]s?|estos|es[ae]s?|esos|aquel(?:l[oa]s?)?|"
    r"(?:el|la|los|las) mism[oa]s?|(?:el|la|los|las) (?:siguiente|otr[oa]|resto|anterior)s?)\b(?! (?:manual|guía|página|país)\b)"
    r"|^¿Qué (?:es|son) (?:el |la |los |las |una? )?(?:cosa|respuesta|resultado|motivo|razón|manera|ejemplo|primer[oa]?|segund[oa]|"
    r"últim[oa]|número|nombre|texto|pregunta|línea|valor|palabra|parte|tipo|lista|tabla|orden|punto|problema|caso|objetivo)s?\?",
    re.IGNORECASE,
)
_MONTHS = "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre"
_DATE = rf"(?:\d{{1,2}} de (?:{_MONTHS}) de \d{{4}}|(?:{_MONTHS}) de \d{{4}}|\d{{1,2}}/\d{{1,2}}/\d{{4}}|(?:1\d|20)\d\d(?![.,]\d))"
_WORDS = "dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce|quince|veinte|treinta|cuarenta|cincuenta|sesenta|noventa|cien"
_NUMBER = rf"(?:(?:{DIGITS}|{_WORDS})(?: (?:mil|millón|millones)(?: de)?)?)"
_ARTICLE = r"(?:El|La|Los|Las|Un|Una)"
_NOT_TERMS = re.compile(
    r"^(?:él|ella|ellos|ellas|eso|esto|est[ea]s?|estos|es[ae]s?|esos|aquel\w*|que|qué|cual|cuál|quien|si|cuando|donde|como|porque|"
    r"cada|tod[oa]s?|algun[oa]s?|ningun[oa]?|otr[oa]s?|ambos|sus?|mis?|en|por|con|sin|para|de|del|tras|después|antes|desde|hasta|"
    r"pero|y|o|entonces|también|sólo|solo|más|much[oa]s?|poc[oa]s?|primer[oa]?|segund[oa]|últim[oa]|mism[oa]|tal|todo|nada|algo|un[oa]|"
    r"así|hoy|aquí|allí|ya|no|sí|hay|es|son|parte)\b"
    r"|\b(?:y|o|u|e|que|porque|si|cuando|pero|donde|ejemplos?|ahora|menudo|es|son|fue|fueron|tiene|tienen|puede|debe|no|está|están)\b",
    re.IGNORECASE,
)
_TERM = rf"(?:(?P<article>{_ARTICLE}) )?(?P<term>[\w.’'/-]+(?: [\w.’'/-]+){{0,5}}?)"
_DEFINITION = re.compile(
    rf"^{_TERM} (?P<be>es|son|fue) (?P<what>(?:una? |unos |unas |cualquier |cada |(?:el|la|los|las) \w+ (?:que|de|del|en|para|con) |"
    r"(?:dos|tres|cuatro) ).+)"
)
_EMPTY = re.compile(
    r"^(?:una? |el |la |los |las )?(?:buen[oa]?|mal[oa]?|mism[oa]|cuestión|caso|primer[oa]?|segund[oa]|últim[oa]|tercer[oa]?|razón|"
    r"error|motivo|manera|poco|únic[oa]|próxim[oa]|problema|resultado|ejemplo|error|pregunta|mejor|peor|señal|más|que|copia)\b"
)
_PERSON = re.compile(
    r"^(?:un|una|el|la) (?:[\w-]+,? ){0,2}?(?:escritora?|poeta|autora?|polític[oa]|cantante|actor|actriz|jugadora?|futbolista|"
    r"presidente|presidenta|rey|reina|científic[oa]|físic[oa]|químic[oa]|abogad[oa]|jueza?|ministr[oa]|pintora?|compositora?|"
    r"músic[oa]|artista|filósof[oa]|ingenier[oa]|sacerdote|general|periodista|directora?|profesora?|historiadora?|"
    r"matemátic[oa]|economista|arquitect[oa]|médic[oa]|obispo|sant[oa])\b"
)
_PARTICIPLE = r"\w+(?:ad|id)[oa]s?|hech[oa]s?|escrit[oa]s?|dich[oa]s?|abiert[oa]s?|puest[oa]s?|vist[oa]s?|electos?|compuest[oa]s?|propuest[oa]s?"
_WHEN = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:fue|fueron|es|son|será|serán) (?:{_PARTICIPLE})\b|nació|murió|comenzó|empezó|terminó|"
    rf"entró en vigor|entra en vigor|vence|ocurrió|inició|abrió|cerró|se fundó|se inauguró|se creó|se celebró)"
    rf"(?P<rest>(?: [^,;:]+?)?) (?:en|el día|el|desde|a partir del?) (?P<answer>{_DATE})(?P<more>[.,;].*)?$"
)
_NOUN = r"(?P<noun>(?P<head>[a-zà-ÿ-]+)(?: (?:hábiles|naturales|diferentes|públicos|públicas|federales))?)"
_HAVE = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>tiene|tienen|tenía|tenían|contiene|contienen|posee|poseen|exige|exigen) "
    rf"(?:(?:cerca de|unos|unas|solo|al menos|hasta|como máximo) )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest>(?: (?:en|de|del|por|para|con) (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_RIGHT = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>tiene|tienen|tendrá|tendrán) derecho a (?:hasta )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest>(?: (?:en|por|para|cada) (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_THERE = re.compile(
    rf"^(?:Hay|Existen) (?:(?:cerca de|solo|al menos) )?(?P<answer>{_NUMBER}) {_NOUN}(?P<rest> (?:en|entre) (?:[^,;.]|\.(?=\w))+)\."
)
_AMOUNT = re.compile(
    rf"^(?P<subject>{_ARTICLE} [^,;:]+?) (?P<verb>es|son|era|será) de (?:(?:cerca de|unos|hasta|como máximo) )?"
    rf"(?P<answer>(?:€|\$|US\$) ?(?:{DIGITS})|{_NUMBER}(?: ?%| (?:[a-zà-ÿ²³]+|MB|GB|KB|km|kg|m)(?: (?:por|al) \w+)?))(?=[.,;]|\s)"
)
_MEASURE = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>dura|duran|cuesta|cuestan|mide|miden|pesa|pesan|ocupa|ocupan) "
    rf"(?:(?:cerca de|unos|unas|hasta) )?(?P<answer>{_NUMBER}(?: [\w²³]+)?)(?:[.,;]| (?:por|en)\b)"
)
_SPAN = r"(?:días?(?: hábiles| naturales)?|horas?|meses|semanas?|años?|minutos?|segundos?)"
_WITHIN = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:se \w+|(?:es|son|será|serán|debe ser|deben ser) (?:{_PARTICIPLE})))"
    rf"(?P<rest>(?: [^,;:]+?)?) (?:en un plazo de|en el plazo de|dentro de|en un máximo de) (?P<answer>{_NUMBER} {_SPAN})(?P<more>(?: (?:[^,;.]|\.(?=\w))+)?)[.,;]"
)
_BY = re.compile(
    rf"^(?P<subject>[^,;:]+?) (?P<verb>(?:fue|fueron|es|son) (?:{_PARTICIPLE})\b)(?P<rest>(?: [^,;:]+?)?) por (?P<answer>(?:el |la )?{NAME})(?P<more>[.,;]| (?:en|y|para)\b)"
)
_ROLES = "presidente|presidenta|director|directora|autor|autora|jefe|jefa|ministro|ministra|alcalde|alcaldesa|secretario|secretaria|gerente|dueño|dueña|fundador|fundadora|coordinador|coordinadora|gobernador|gobernadora|rey|reina|líder|capital|sede"
_WHO = re.compile(
    rf"^(?P<subject>(?:El|La) (?P<role>{_ROLES}) (?:del?|en) [^,;.]+?) (?P<verb>es|fue|era) (?:el |la )?(?P<answer>{NAME}|[A-ZÀ-Þ]\w+)[.,]"
)
_WHERE = re.compile(
    r"^(?P<subject>[^,;:]+?) (?P<verb>se encuentra|se encuentran|está situad[oa]|está ubicad[oa]|se sitúa|queda|quedan|nació|murió) "
    r"(?P<answer>en (?:[^,;.]|\.(?=\w))+)[.,;]"
)
_INFINITIVE = r"(?!ser\b|estar\b|tener\b|haber\b|lugar\b|mujer\b|mar\b|bar\b|poder\b|deber\b|militar\b|escolar\b|familiar\b|hogar\b|ayer\b|placer\b|particular\b|popular\b|regular\b|similar\b|celular\b|titular\b|azúcar\b|alquiler\b|par\b|taller\b)[a-zà-ÿ]{2,}(?:ar|er|ir|ír)(?:se)?"
_TO = re.compile(rf"^Para (?P<do>(?P<verb>{_INFINITIVE})\b[^,:;.]*?)(?:,|:) (?P<then>.+)$")
_IMPERATIVE = listed(
    """abra abre añada añade agregue agrega borre borra busque busca cambie cambia cierre cierra compruebe comprueba
    confirme confirma conecte conecta consulte consulta copie copia cree crea defina define deje deja descargue
    descarga edite edita ejecute ejecuta elija elige elimine elimina entre envíe envía escriba escribe espere espera
    exporte exporta guarde guarda haga haz importe importa incluya incluye indique indica inicie inicia inserte
    inserta instale instala introduzca lea lee llame llama mantenga mantén marque marca mueva mueve pida pide ponga
    pon presente presenta presione presiona pulse pulsa quite quita reinicie reinicia rellene rellena repita repite
    responda seleccione selecciona siga sigue solicite solicita sustituya use usa utilice utiliza vaya vea verifique
    verifica vuelva"""
)
_LIST = re.compile(r"^(?P<subject>(?:El|La|Los|Las) [^,;:.]+?) (?P<be>es|son)(?: los siguientes| las siguientes)?:$")


def sentence(text: str, names: Names) -> Iterator[Made]:
    """See ``grammar.Grammar``."""
    if (m := _DEFINITION.match(text)) and not _NOT_TERMS.search(m["term"]) and not _EMPTY.match(m["what"]):
        yield from _definition(m, names)
    if (m := _WHEN.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        yield Made("date", _asked(f"cuándo {m['verb']} {names.inside(m['subject'])}{m['rest']}"), m["answer"])
    for pattern, opening in ((_HAVE, ""), (_RIGHT, "a ")):
        if (
            (m := pattern.match(text))
            and _subject(m["subject"])
            and short(m["rest"])
            and (many := _how_many(m["head"]))
        ):
            right = " derecho" if opening else ""
            question = f"{opening}{many} {m['noun']} {m['verb']}{right} {names.inside(m['subject'])}{m['rest']}"
            yield Made("number", _asked(question), m["answer"])
    if (m := _THERE.match(text)) and short(m["rest"]) and (many := _how_many(m["head"])):
        yield Made("number", _asked(f"{many} {m['noun']} hay{m['rest']}"), m["answer"])
    if (m := _AMOUNT.match(text)) and _subject(m["subject"]):
        yield Made("number", _asked(f"de cuánto {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _MEASURE.match(text)) and _subject(m["subject"]):
        yield Made("number", _asked(f"cuánto {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _WITHIN.match(text)) and _subject(m["subject"]) and short(m["rest"], m["more"]):
        clause = f"{m['verb']} {names.inside(m['subject'])}{m['rest']}{m['more']}"
        yield Made("number", _asked(f"en cuánto tiempo {clause}"), m["answer"])
    if (m := _BY.match(text)) and _subject(m["subject"]) and short(m["rest"]):
        yield Made("name", _asked(f"por quién {m['verb']} {names.inside(m['subject'])}{m['rest']}"), m["answer"])
    if m := _WHO.match(text):
        who = "cuál" if m["role"] in ("capital", "sede") else "quién"
        yield Made("name", _asked(f"{who} {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _WHERE.match(text)) and _subject(m["subject"]) and " y " not in m["answer"]:
        yield Made("place", _asked(f"dónde {m['verb']} {names.inside(m['subject'])}"), m["answer"])
    if (m := _TO.match(text)) and _can_be_asked(m["do"]) and len(m["do"].split()) > 1:
        then = re.match(r"(?:primero )?([\wà-ÿ]+)", m["then"])
        if then and then[1] in _IMPERATIVE:
            yield Made("how", _asked(f"cómo {_mine(m['do'])}"))


def _definition(m: re.Match[str], names: Names) -> Iterator[Made]:
    article, term, be = m["article"], m["term"], m["be"]
    person = bool(_PERSON.match(m["what"]))
    if article in ("El", "La", "Los", "Las") and " " not in term and term.lower() in _VAGUE:
        return
    if be == "fue" and not (person and article is None):
        return
    if article is None:
        term = names.inside(term)
    subject = f"{article.lower()} {term}" if article else term
    who = "quién" if person and (article is None or names.proper(term.split()[0])) else "qué"
    if len(m["what"].split()) >= 3:
        yield Made("definition", _asked(f"{who} {be} {subject}"))


_VAGUE = listed(
    """archivo cosa ejemplo respuesta resultado texto página línea carpeta comando opción valor nombre número palabra
    lista tabla columna documento pregunta problema idea punto motivo razón objetivo método trabajo estudio libro
    ciudad país hombre mujer empresa equipo grupo sistema programa proceso paso resto diferencia mayoría área"""
)


def heading(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if (m := re.match(rf"C[óo]mo ((?:{_INFINITIVE})\b.+)$", text)) and short(m[1]):
        return _asked(f"cómo {_mine(m[1])}") if _can_be_asked(m[1]) else ""
    first, _, rest = text.partition(" ")
    if re.fullmatch(_INFINITIVE, first.lower()) and first.istitle() and short(text) and _can_be_asked(rest):
        if re.match(r"(?:el|la|los|las|una?|su|sus|[A-ZÀ-Þ]\w+|\w+s)\b", rest):
            return _asked(f"cómo {first.lower()} {_mine(rest)}")
    return ""


def introduced(text: str, names: Names) -> str:
    """See ``grammar.Grammar``."""
    if (m := _LIST.match(text)) and _subject(m["subject"]):
        return _asked(f"{'cuáles' if m['be'] == 'son' else 'cuál'} {m['be']} {names.inside(m['subject'])}")
    return ""


def means(term: str) -> str:
    """See ``grammar.Grammar``."""
    return f"¿Qué significa «{term}»?"


_MEANING = frozenset({"significado", "descripción", "explicación", "qué significa", "definición"})


def cell(header: str, key_header: str, key: str) -> str:
    """See ``grammar.Grammar``."""
    head, kind = header if header.isupper() else header.lower(), key_header.lower()
    kind = "" if kind in ("nombre", "id", "ítem") else kind
    kind_gender, head_gender = gender(kind.split()[0]) if kind else None, gender(head.split()[0]) if head else None
    if head in ("guarda", "contiene", "hace", "significa", "indica", "muestra", "exige") and (kind_gender or not kind):
        return f"¿Qué {head} {f'{kind_gender} {kind} ' if kind else ''}{key}?"
    if head in ("qué hace", "efecto", "función") and kind_gender:
        return f"¿Qué hace {kind_gender} {kind} {key}?"
    if head in _MEANING:
        return f"¿Qué significa {kind_gender} {kind} {key}?" if kind_gender else means(key)
    if not re.fullmatch(r"[\w-]+(?: [\w-]+){0,3}", head) or head_gender is None or _NOT_TERMS.search(head):
        return ""
    if kind and (kind_gender is None or kind.split()[0].endswith("s")):
        return ""
    of = f"{'del' if kind_gender == 'el' else 'de la'} {kind} {key}" if kind else f"de {key}"
    many = head.split()[0].endswith("s")
    article = {"el": "los", "la": "las"}[head_gender] if many else head_gender
    return f"¿{'Cuáles son' if many else 'Cuál es'} {article} {head} {of}?"


def is_definition(text: str) -> bool:
    """See ``grammar.Grammar``."""
    return bool(re.match(r"(?:una?|el|la|los|las|cualquier|tod[oa]) ", text, re.IGNORECASE)) and not _EMPTY.match(
        text.lower()
    )


_MASCULINE = listed(
    """día mapa problema sistema programa tema idioma clima esquema poema nombre límite mes nivel cliente agente
    lenguaje índice ambiente byte precio país"""
)
_FEMININE = listed("""clave base fuente parte clase frase red sede vez ley foto mano serie fase imagen orden llave""")


def gender(word: str) -> str | None:
    """``el`` or ``la``, by a noun's ending; None where it does not tell."""
    word = word.lower()
    single = re.sub(
        r"(?<=[aeo])s$", "", re.sub(r"(?<=[dnrl])es$|(?<=m)eses$", lambda m: "es" if "m" in m[0] else "", word)
    )
    if word == "meses" or single in _MASCULINE:
        return "el"
    if single in _FEMININE or re.search(r"(?:ción|sión|cion|sion|dad|tad|tud|umbre|ez|a)$", single):
        return "la"
    if re.search(r"(?:o|or|l|aje|ón|e?n)$", single):
        return "el"
    return None


def _how_many(head: str) -> str:
    kind = gender(head) if head.endswith("s") else None
    return {"el": "cuántos", "la": "cuántas"}[kind] if kind else ""


def _subject(text: str) -> bool:
    if not short(text) or "," in text or _NOT_TERMS.match(text):
        return False
    return not re.search(
        r"\b(?:él|ella|ellos|ellas|eso|esto|est[ea]s?|estos|es[ae]s?|esos|que|quien|y|o|pero|si|cuando|porque|es|son|fue|"
        r"fueron|tiene|tienen|puede|pueden|debe|deben|no|está|están|hay|usted|después|su|sus)\b",
        text,
    )


def _can_be_asked(text: str) -> bool:
    return short(text) and not re.search(
        r"\b(?:él|ella|ellos|ellas|eso|esto|est[ea]s?|estos|es[ae]s?|esos|usted|otro|otra)\b|(?:ar|er|ir)(?:l[oa]s?|les?)\b",
        text,
    )


def _mine(text: str) -> str:
    return re.sub(r"\b(?:sus?|tus?)\b", lambda match: "mis" if match[0].endswith("s") else "mi", text)


def _asked(text: str) -> str:
    return asked(text, "¿")
