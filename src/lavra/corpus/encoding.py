"""From bytes to text without mojibake.

UTF-8 is tried first because a wrong guess practically never passes as valid UTF-8. What is left in organisations'
folders is mostly Windows-1252 (of which Latin-1 text is a subset), which general detectors mistake for other code
pages on short texts; so it is accepted when its accented letters stand where Western European text has them, and only
the rest is given to charset-normalizer. Binary data is refused.
"""

from __future__ import annotations

import codecs
import re

from lavra.corpus.parts import Unreadable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_HIGH = re.compile(r"[^\x00-\x7f]")
_WESTERN_LETTERS = "áàâãäåæçéèêëíìîïñóòôõöøúùûüýÿœšžßÁÀÂÃÄÅÇÉÈÊËÍÌÎÏÑÓÒÔÕÖØÚÙÛÜŒŠŽ"
_WESTERN_MARKS = "ªº°§«»“”‘’„–—…€£·•¿¡²³¹½¼¾®©™\u00a0´¨¶±×\u00ad"
_WRONG = re.compile(
    rf"[^\x00-\x7f{_WESTERN_LETTERS}{_WESTERN_MARKS}]"
    r"|(?<=[^\W\d_])[§«“„€£¿¡²³¹½¼¾©¶±×](?=[^\W\d_])"  # a mark inside a word: another code page's letter
    rf"|[{_WESTERN_LETTERS}]{{4,}}"  # four accented letters on end: another alphabet
    rf"|(?<=[a-z])[{_WESTERN_LETTERS[_WESTERN_LETTERS.index('Á') :]}](?=[a-z])"  # a capital inside a word
)


def looks_binary(data: bytes) -> bool:
    """Whether the bytes are no text in any 8-bit encoding (UTF-16 and UTF-32 without a mark look binary too)."""
    sample = data[:65536]
    return b"\x00" in sample or len(_BINARY_CONTROLS.findall(sample)) > len(sample) // 200


def decode(data: bytes, declared: str | None = None) -> tuple[str, str]:
    """The text of ``data`` and the name of its encoding; ``declared`` is believed only where UTF-8 is impossible.

    Raises `Unreadable` where the bytes are no text.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data.decode(name, "replace"), name.removesuffix("-sig")
    if wide := _unmarked_wide(data):
        return data.decode(wide, "replace"), wide
    if looks_binary(data):
        raise Unreadable("unsupported", "its content is binary, not text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        # A cut or damaged character in an otherwise good file is not a reason to guess another encoding.
        if _nearly_utf8(data, error):
            return data.decode("utf-8", "replace"), "utf-8"
    if declared:
        try:
            codec = codecs.lookup("cp1252" if declared.lower() in ("iso-8859-1", "latin-1", "ascii") else declared)
            if codec.name not in ("utf-8", "utf-16", "utf-32"):
                return data.decode(codec.name), codec.name
        except (LookupError, UnicodeDecodeError, AssertionError):
            pass
    if _western(data):
        return data.decode("cp1252"), "cp1252"
    return _guessed(data)


def _unmarked_wide(data: bytes) -> str | None:
    """UTF-16 without a mark: text whose every other byte is mostly zero."""
    sample = data[:4096]
    if len(sample) < 4 or len(data) % 2 or b"\x00" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.6 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.6 * half and odd < 0.02 * half:
        return "utf-16-be"
    return None


def _nearly_utf8(data: bytes, error: UnicodeDecodeError) -> bool:
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return len(_HIGH.findall(text)) - bad > 20 * bad


def _western(data: bytes) -> bool:
    try:
        text = data[:1_000_000].decode("cp1252")
        data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high = len(_HIGH.findall(text))
    letters = sum(map(str.isalpha, text))
    return len(_WRONG.findall(text)) <= 0.03 * high and high <= 0.35 * max(letters, 1)


def _guessed(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:200_000]).best()
    if best is not None:
        try:
            return data.decode(best.encoding), best.encoding
        except UnicodeDecodeError:
            return data.decode(best.encoding, "replace"), best.encoding
    raise Unreadable("unsupported", "its text is in no encoding that could be told: save it as UTF-8")
