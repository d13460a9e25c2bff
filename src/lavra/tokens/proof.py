"""Proof on export, the tokenizer's part: what was written cuts the same texts into the same ids and lays out the same
conversations, byte for byte."""

from __future__ import annotations

from pathlib import Path

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

TEXTS = (
    "",
    "Hello world",
    " The quick  brown fox\njumps over   the lazy dog.\n\n\tAnd again!  ",
    "Não há pão às três; o avô e a avó vêm amanhã à tarde, às 15h30.",
    "Preis: 1.234.567,89 € (≈ $1,300,000) am 03.10.2025 - 12345678901234567890",
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"  # don't, we're, I'LL\n",
    "日本語のテキスト、中文文本。한국어 텍스트 العربية עברית हिन्दी ไทย",
    "naïve café résumé ﬁ ½ … “quotes” ‘single’ — dash",
    "emoji 👩‍👩‍👧‍👦 🇧🇷 and bytes \u0007 \u200b \ufeff",
    "http://example.org/a?b=c&d=e#f someone@example.org C:\\path\\file.txt <b>bold</b> [x] {y}",
)
CONVERSATIONS = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": " What is 2 + 2? "},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "E em português?"},
    ],
)


def check(tokenizer: Tokenizer, path: Path) -> None:
    """Raises LavraError, saying what differs, when the tokenizer at ``path`` is not ``tokenizer``."""
    again = load_tokenizer(path)
    for what in ("bos_id", "eos_ids", "pad_id"):
        if getattr(again, what) != getattr(tokenizer, what):
            _differ(f"{what} is {getattr(again, what)} instead of {getattr(tokenizer, what)}")
    if again.special_tokens != tokenizer.special_tokens:
        odd = sorted(again.special_tokens ^ tokenizer.special_tokens)
        _differ(f"the control tokens differ ({', '.join(odd[:4])})")
    everything = " ".join(sorted(tokenizer.special_tokens)[:64])
    for text in (*TEXTS, everything):
        for parse_special in (True, False):
            wanted = tokenizer.encode(text, parse_special=parse_special)
            if again.encode(text, parse_special=parse_special) != wanted:
                _differ(f"the text {text[:40]!r} becomes other tokens")
            if again.decode(wanted) != tokenizer.decode(wanted):
                _differ(f"the tokens of {text[:40]!r} become another text")
    for messages in CONVERSATIONS:
        if _rendered(again, messages) != _rendered(tokenizer, messages):
            _differ("the chat template lays out a conversation differently")


def _rendered(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> str | None:
    """The text, or why the template refuses the messages (one without system messages does)."""
    if tokenizer.chat_template is None:
        return None
    try:
        return tokenizer.render(messages)
    except LavraError as error:
        return f"refused: {error}"


def _differ(what: str) -> None:
    raise LavraError(f"what was written cannot be trusted, so nothing was kept: {what} when it is read again")
