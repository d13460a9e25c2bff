"""The kinds of personal data, each a pattern, a proof and a placeholder.

A pattern alone takes dates for cards and version numbers for documents. So each kind says what proves a hit: check
digits (python-stdnum), a numbering plan (phonenumbers), or a word before it ("RG", "CEP") where the number carries no
proof of its own. Bare digits need the word even where they have check digits: one of a hundred numbers of eleven
digits passes CPF's by chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

from lavra.errors import LavraError

Proof = Callable[[str], bool]


@dataclass(frozen=True)
class Kind:
    """One kind of personal data."""

    name: str
    hint: str
    """RE2 and Python: what a text must hold for ``pattern`` to be tried on it at all."""
    pattern: str
    """Python, with the number in group ``value``."""
    proof: Proof
    words: str = ""
    """Pattern of words one of which must stand within ``_REACH`` characters before a hit; empty: none has to."""
    unless: str = ""
    """Pattern of what must not stand right before a hit."""
    bare: str = ""
    """Pattern of the number written without its marks, which is believed after one of ``bare_words`` alone."""
    bare_words: str = ""
    bare_proof: Proof | None = None
    """What proves a number after one of ``bare_words``; None: ``proof`` does."""

    @property
    def placeholder(self) -> str:
        """What stands in the text instead."""
        return f"[{self.name.upper()}]"

    @cache  # noqa: B019 - kinds live as long as the process
    def compiled(
        self,
    ) -> tuple[re.Pattern[str], re.Pattern[str] | None, re.Pattern[str] | None, re.Pattern[str] | None]:
        """``pattern``, ``words``, ``bare`` and ``bare_words``, compiled."""
        return (
            re.compile(self.pattern),
            re.compile(self.words, re.IGNORECASE) if self.words else None,
            re.compile(self.bare) if self.bare else None,
            re.compile(self.bare_words, re.IGNORECASE) if self.bare_words else None,
        )


def _stdnum(module: str) -> Proof:
    def proof(value: str) -> bool:
        from importlib import import_module

        digits = re.sub(r"\W", "", value)
        if len(set(digits)) < 2:  # 111.111.111-11 has right check digits and is nobody's
            return False
        return bool(import_module(f"stdnum.{module}").is_valid(digits))

    return proof


def _card(value: str) -> bool:
    """Luhn, and a prefix and length that an issuer uses: Luhn alone takes one date of ten for a card."""
    from stdnum import luhn

    digits = re.sub(r"\D", "", value)
    first, size = int(digits[:4]), len(digits)
    issued = (
        (digits[0] == "4" and size in (13, 16, 19))
        or ((51 <= first // 100 <= 55 or 2221 <= first <= 2720) and size == 16)
        or (first // 100 in (34, 37) and size == 15)
        or ((first == 6011 or first // 100 == 65 or 644 <= first // 10 <= 649) and size in (16, 19))
        or ((300 <= first // 10 <= 305 or first // 100 in (36, 38, 39)) and size == 14)
        or (3528 <= first <= 3589 and size == 16)
        or (first in (1800, 2131) and size == 15)
        or (first in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) and 12 <= size <= 19)
        or (
            first in (5067, 5090, 6363, 6362, 6277, 4011, 4389, 4514, 6500, 6504, 6505, 6507, 6516, 6550) and size == 16
        )
        or (digits.startswith(("606282", "3841")) and size == 16)
    )
    return issued and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _address(value: str) -> bool:
    """A public address: private, loopback and documentation ranges name nobody."""
    try:
        return ip_address(value.strip("[]")).is_global
    except ValueError:
        return False


def _telephone(value: str) -> bool:
    import phonenumbers

    for region in ("BR", "PT", "ES", "US", "GB") if not value.startswith("+") else (None,):
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(value, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def _dialled(value: str) -> bool:
    """After a word that announces a telephone number: as many digits as one has, and not a year, date or amount."""
    digits = re.sub(r"\D", "", value)
    return 7 <= len(digits) <= 15 and not re.fullmatch(r"(?:19|20)\d{2}[-. ]\d{2,4}(?:[-. ]\d{2,4})?", value)


def _always(value: str) -> bool:
    return True


def _email(value: str) -> bool:
    name, _, host = value.rpartition("@")
    return bool(name) and ".." not in value and not name.endswith(".") and not host.startswith("-")


_EDGE, _END = r"(?<![\w.,/-])", r"(?![\w/-]|[.,]\d)"
_PHONE_WORDS = r"\b(tel|tels|telefone|telefones|telefonos?|teléfonos?|phone|telephone|mobile|cell|celular|cel|fone|"
_PHONE_WORDS += r"fax|whats ?app|zap|contato|contacto|ligue|call|llame|office)\b"

KINDS: tuple[Kind, ...] = (
    Kind(
        "email",
        hint="@",
        pattern=r"(?<![\w.+-])(?P<value>[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
        r"[A-Za-z]{2,24})(?![\w@])",
        proof=_email,
    ),
    Kind(
        "iban",
        hint=r"(?i:[a-z]{2}\d{2} ?[a-z0-9]{4})",
        pattern=r"(?<!\w)(?P<value>[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,4})?)(?!\w)",
        proof=_stdnum("iban"),
    ),
    Kind(
        "card",
        hint=r"\d{4}[ -]?\d{4}",
        pattern=_EDGE + r"(?P<value>\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{3})?|\d{4}[ -]\d{6}[ -]\d{4,5}|\d{12,19})" + _END,
        proof=_card,
        bare=_EDGE + r"(?P<value>\d{12,19})" + _END,
        bare_words=r"\b(cards?|cc|cart(?:ão|ões|oes)|tarjetas?|crédito|débito)\b",
        bare_proof=_stdnum("luhn"),
    ),
    Kind(
        "cnpj",
        hint=r"/[A-Z0-9]{4}-\d{2}|(?i:cnpj)",
        pattern=r"(?<![\w.])(?P<value>[A-Z0-9]{2}\.[A-Z0-9]{3}\.[A-Z0-9]{3}/[A-Z0-9]{4}-\d{2})(?!\w)",
        proof=_stdnum("br.cnpj"),
        bare=_EDGE + r"(?P<value>[A-Z0-9]{12}\d{2})" + _END,
        bare_words=r"\bcnpj\b",
    ),
    Kind(
        "cpf",
        hint=r"\d{3}\.\d{3}\.\d{3}-\d{2}|(?i:cpf)",
        pattern=r"(?<![\w.])(?P<value>\d{3}\.\d{3}\.\d{3}-\d{2})(?!\w)",
        proof=_stdnum("br.cpf"),
        bare=_EDGE + r"(?P<value>\d{9}-?\d{2})" + _END,
        bare_words=r"\bcpf\b",
    ),
    Kind(
        "pis",
        hint=r"\d{3}\.\d{5}\.\d{2}-\d|(?i:\b(?:pis|pasep|nis|nit)\b)",
        pattern=r"(?<![\w.])(?P<value>\d{3}\.\d{5}\.\d{2}-\d)(?!\w)",
        proof=lambda value: _pis(value),
        bare=_EDGE + r"(?P<value>\d{10}-?\d)" + _END,
        bare_words=r"\b(pis|pasep|nis|nit)\b",
    ),
    Kind(
        "nif",
        hint=r"(?i:\b(?:nif|contribuinte|n\.i\.f)|PT ?\d{9})",
        pattern=_EDGE + r"(?P<value>(?:PT ?)?[1235689]\d{2}[ .]?\d{3}[ .]?\d{3})" + _END,
        proof=lambda value: _stdnum("pt.nif")(value.removeprefix("PT")),
        words=r"\b(nif|n\.i\.f|contribuinte|PT ?$)",
    ),
    Kind(
        "rg",
        hint=r"(?i:\b(?:rg|identidade)\b)",
        pattern=_EDGE + r"(?P<value>(?:[A-Z]{2}-?)?\d{1,2}\.?\d{3}\.?\d{3}(?:-?[\dXx])?)" + _END,
        proof=lambda value: len(re.sub(r"\D", "", value)) >= 7,
        words=r"\b(rg|r\.g\.|identidade|cédula)\b",
    ),
    Kind(
        "cep",
        hint=r"\d{5}-\d{3}|(?i:\bcep\b)",
        pattern=_EDGE + r"(?P<value>\d{2}\.?\d{3}-\d{3})" + _END,
        proof=lambda value: int(re.sub(r"\D", "", value)) >= 1_000_000,
        words=r"\b(cep|rua|av|avenida|travessa|praça|rodovia|alameda|bairro|endereço|nº|n°)\b",
        bare=_EDGE + r"(?P<value>\d{8})" + _END,
        bare_words=r"\bcep\b",
    ),
    Kind(
        "telephone",
        hint=r"(?:\+\d|\(\d{2,3}\)|\d{3}-\d{3}-\d{4}|(?i:\b(?:tel|fone|phone|mobile|cell|cel|fax|whats|zap|contato|contacto|ligue|call|llame)))",
        pattern=r"(?<![\w.+-])(?P<value>(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?|\(\d{2,3}\) ?)\d(?:[ .-]?\d){5,13}|"
        + r"[2-9]\d{2}-[2-9]\d{2}-\d{4})(?![\w-]|\.\d)",
        proof=_telephone,
        bare=r"(?<![\w.,/<])(?P<value>(?:\+\d{1,3} ?)?(?:\(\d{1,4}\) ?)?\d{2,5}(?:[ .-]?\d{2,5}){1,4})(?![\w/]|[.,]\w)",
        bare_words=_PHONE_WORDS,
        bare_proof=_dialled,
    ),
    Kind(
        "ip",
        hint=r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]+",
        pattern=r"(?<![\w.:])(?P<value>\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{1,4}:){2,7}:?(?:[0-9A-Fa-f]{1,4}:?){1,6})"
        r"(?![\w:]|\.\d)",
        proof=lambda value: _address(value) and (":" in value or re.search(r"\d{3}", value) is not None),
        bare=r"(?<![\w.:])(?P<value>\d{1,2}(?:\.\d{1,2}){3})(?![\w:]|\.\d)",  # short ones are sections more often
        bare_words=r"\b(ip|host|server|servidor|address|endereço|dirección|gateway|dns|ping)\b",
        bare_proof=_address,
        unless=r"(?:\bv|vers\w*\.?|release|build|§|section|seção|sección|chapter)\s*$",
    ),
)
"""In the order in which they claim a stretch of text: the stricter proof first."""


def _pis(value: str) -> bool:
    """PIS/PASEP's check digit (weights 3 2 9 8 7 6 5 4 3 2, modulo 11), which the library does not know."""
    digits = [int(c) for c in value if c.isdigit()]
    if len(digits) != 11 or len(set(digits)) < 2:
        return False
    rest = sum(weight * digit for weight, digit in zip((3, 2, 9, 8, 7, 6, 5, 4, 3, 2), digits, strict=False)) % 11
    return digits[10] == (0 if rest < 2 else 11 - rest)


def own_kind(name: str, pattern: str) -> Kind:
    """A user's own kind of personal data: every match of ``pattern`` is one.

    Raises LavraError for a name that makes no placeholder and for a pattern that is none.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
        raise LavraError(f"{name!r} cannot name a kind of personal data: use small letters, digits and _, 31 at most")
    try:
        re.compile(pattern)
    except re.error as error:
        raise LavraError(
            f"the pattern of {name!r} is not a regular expression ({error}): mend it in lavra.toml"
        ) from None
    if re.match(pattern, ""):
        raise LavraError(f"the pattern of {name!r} matches nothing at all as well: ask for at least one character")
    return Kind(name, hint="", pattern=f"(?P<value>{pattern})", proof=_always)


def placeholders(kinds: tuple[Kind, ...]) -> dict[str, str]:
    """The placeholder of each kind."""
    return {kind.name: kind.placeholder for kind in kinds}


def chosen(names: Any) -> tuple[Kind, ...]:
    """The kinds of these names, in the house's order. Raises LavraError for one that there is not."""
    known = {kind.name: kind for kind in KINDS}
    if unknown := sorted(set(names) - known.keys()):
        raise LavraError(f"{unknown[0]!r} is not a kind of personal data: choose from {', '.join(known)}")
    return tuple(kind for kind in KINDS if kind.name in set(names))
