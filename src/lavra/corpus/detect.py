"""Which format a file has: its content decides, and its name where content cannot.

Text formats (Markdown, CSV, code …) look alike, so their name decides; everything with a signature is believed by its
signature. A name that promises a format with a signature that the content does not have is an error worth telling
("a zip renamed .pdf"), not a reason to guess.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath

from lavra.corpus.encoding import looks_binary
from lavra.corpus.packing import head_of, inner_name, packing
from lavra.corpus.parts import Unreadable
from lavra.corpus.settings import ReadSettings

HEAVY = frozenset({"pdf", "docx", "pptx", "xlsx", "odt", "epub", "html"})
"""Formats with complicated parsers: read in a worker process."""

STREAMED = frozenset({"jsonl", "parquet", "warc", "mediawiki", "mbox"})
"""Formats of many records, read one after the other: such a file may be larger than memory."""

CODE = {
    ".py": "python", ".pyi": "python", ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hpp": "cpp",
    ".rs": "rust", ".go": "go", ".java": "java", ".kt": "kotlin", ".scala": "scala", ".js": "javascript",
    ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript", ".ts": "typescript", ".tsx": "typescript",
    ".rb": "ruby", ".php": "php", ".pl": "perl", ".pm": "perl", ".lua": "lua", ".r": "r", ".jl": "julia",
    ".swift": "swift", ".cs": "csharp", ".fs": "fsharp", ".vb": "visualbasic", ".sh": "shell", ".bash": "shell",
    ".zsh": "shell", ".ps1": "powershell", ".bat": "batch", ".sql": "sql", ".css": "css", ".scss": "scss",
    ".hs": "haskell", ".ml": "ocaml", ".ex": "elixir", ".exs": "elixir", ".erl": "erlang", ".clj": "clojure",
    ".dart": "dart", ".f90": "fortran", ".f": "fortran", ".cob": "cobol", ".cbl": "cobol", ".pas": "pascal",
    ".asm": "assembly", ".s": "assembly", ".m": "matlab", ".xml": "xml", ".xsd": "xml", ".xsl": "xml",
    ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".ini": "ini", ".cfg": "ini", ".conf": "ini",
    ".properties": "ini", ".tf": "terraform", ".proto": "protobuf", ".graphql": "graphql", ".cmake": "cmake",
    ".mk": "make", ".gradle": "gradle", ".groovy": "groovy", ".vue": "vue", ".svelte": "svelte",
}  # fmt: skip
"""Source code by extension, and the name of its language."""
CODE_NAMES = {"makefile": "make", "dockerfile": "docker", "jenkinsfile": "groovy", "cmakelists.txt": "cmake"}

_BY_EXTENSION = {
    ".pdf": "pdf", ".docx": "docx", ".docm": "docx", ".dotx": "docx", ".pptx": "pptx", ".pptm": "pptx",
    ".ppsx": "pptx", ".xlsx": "xlsx", ".xlsm": "xlsx", ".odt": "odt", ".epub": "epub", ".html": "html",
    ".htm": "html", ".xhtml": "html", ".md": "markdown", ".markdown": "markdown", ".mdown": "markdown",
    ".qmd": "markdown", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".tab": "csv", ".eml": "mail", ".mbox": "mbox", ".parquet": "parquet",
    ".pq": "parquet", ".warc": "warc", ".wet": "warc", ".ipynb": "notebook",
    ".txt": "text", ".rst": "text", ".log": "text", ".tex": "text",
}  # fmt: skip
_SIGNED = {
    "pdf": "PDF", "docx": "Word", "pptx": "PowerPoint", "xlsx": "Excel", "odt": "OpenDocument", "epub": "EPUB",
    "parquet": "Parquet",
}  # fmt: skip
_OTHERS = (
    (b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"), (b"BM", "a bitmap image"),
    (b"II*\x00", "a TIFF image"), (b"MM\x00*", "a TIFF image"), (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"), (b"\xfd7zXZ", "an xz archive"), (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7-zip archive"), (b"Rar!", "a RAR archive"), (b"\x7fELF", "a program"), (b"MZ", "a program"),
    (b"ID3", "an audio file"), (b"OggS", "an audio file"), (b"fLaC", "an audio file"),
    (b"SQLite format 3", "a database"),
    (b"GGUF", "a model file"), (b"RIFF", "an image, audio or video file"),
)  # fmt: skip
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKUP = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S
)
_WIKI = re.compile(rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?<mediawiki[\s>]")
_DUMP = re.compile(r"-pages-(?:articles|meta)[\w-]*\.xml")
_MAILBOX = re.compile(rb"From \S+.* \d{2}:\d{2}.* \d{4}\r?\n(?:>From [^\n]*\n)?[!-9;-~]+:[ \t]")
_GUTENBERG = re.compile(rb"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG", re.M)
_ZIP_PARTS = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
HEAD_BYTES = 8192


def by_name(name: str) -> str | None:
    """The format that a file's name promises, or None."""
    path = PurePosixPath(name.lower())
    if path.name in CODE_NAMES or path.suffix in CODE:
        return "code"
    return _BY_EXTENSION.get(path.suffix)


def code_language(name: str) -> str:
    """The programming language a file's name promises; empty where it promises none."""
    path = PurePosixPath(name.lower())
    return CODE_NAMES.get(path.name) or CODE.get(path.suffix, "")


def detect(name: str, head: bytes) -> str:
    """The format of a file from its name and its first bytes (`HEAD_BYTES`); ``zip`` for any zip-based one.

    Raises `Unreadable`, kind ``mismatch`` or ``unsupported``.
    """
    promised = by_name(name)
    found = _by_signature(head)
    if found == "parquet":
        return found
    if found and (inner := inner_name(name)) and packing(head) and (kind := _packed(inner, head_of(head))):
        return kind
    if found in ("pdf", "zip", "ole"):
        if promised == "pdf" and found != "pdf":
            what = "a zip archive" if found == "zip" else "an old Office file"
            raise Unreadable("mismatch", f"it is named as a PDF file but its content is {what}")
        return found
    if promised in _SIGNED:
        what = found or ("HTML" if _MARKUP.match(head) else "binary data" if looks_binary(head) else "plain text")
        raise Unreadable("mismatch", f"it is named as a {_SIGNED[promised]} file but its content is {what}")
    if found:
        advice = "unpack it to read the files inside" if found.endswith("archive") else "there is no reader for it"
        raise Unreadable("unsupported", f"it is {found}: {advice}")
    if head.lstrip().startswith(b"{\\rtf"):
        raise Unreadable("unsupported", "it is a Rich Text (RTF) file: save it as DOCX or PDF")
    if kind := _of_records(promised, head):
        return kind
    if promised:
        return promised
    if _MARKUP.match(head):
        return "html"
    return "text"


def _of_records(promised: str | None, head: bytes) -> str | None:
    """Formats of corpora that are text, told by how they begin; ``promised`` is what the name says."""
    if promised in (None, "text", "warc") and head.startswith(b"WARC/"):
        return "warc"
    if promised in (None, "code") and _WIKI.match(head):
        return "mediawiki"
    if promised in (None, "text"):
        if _MAILBOX.match(head):
            return "mbox"
        if b"Project Gutenberg" in head[:300] or _GUTENBERG.search(head):
            return "gutenberg"
    return None


def _packed(inner: str, head: bytes) -> str | None:
    """The format of a compressed file's content, by its name inside and its beginning as far as that is known."""
    promised = by_name(inner)
    if promised in _SIGNED or (head and looks_binary(head)):
        return None
    # bzip2 gives nothing before a whole block is there: then the name has to do.
    return _of_records(promised, head) or ("mediawiki" if _DUMP.search(inner) else promised)


def _by_signature(head: bytes) -> str | None:
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head.startswith(_OLE):
        return "ole"
    if head.startswith(b"PAR1") and looks_binary(head):
        return "parquet"
    if not looks_binary(head):
        return None  # "BM", "MZ", "ID3" may begin a sentence
    return next((what for signature, what in _OTHERS if head.startswith(signature)), None)


def inside_zip(data: bytes, name: str, settings: ReadSettings) -> str:
    """The format of a zip-based file, its limits checked before anything is unpacked.

    Raises `Unreadable`: ``corrupt``, ``too_large`` (a bomb), ``encrypted``, ``mismatch`` or ``unsupported``.
    """
    promised = by_name(name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_limits(members, len(data), settings)
            # Office files and books use no other methods, and others are unpacked whole, whatever size they state.
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise NotImplementedError
            mimetype = b""
            if "mimetype" in archive.NameToInfo and archive.getinfo("mimetype").file_size < 200:
                mimetype = archive.read("mimetype")
    except NotImplementedError:  # a RuntimeError, so it stands first
        raise Unreadable("unsupported", "its zip compression method is not supported") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        what = _SIGNED.get(promised or "", "zip")
        raise Unreadable("corrupt", f"the {what} file is damaged or cut off ({error})") from None
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable("encrypted", "it is protected by a password: save a copy without one")
    names = [member.filename for member in members]
    found = None
    if mimetype.startswith(b"application/epub+zip") or "META-INF/container.xml" in names:
        found = "epub"
    elif mimetype.startswith(b"application/vnd.oasis.opendocument.text"):
        found = "odt"
    elif "[Content_Types].xml" in names:
        found = next((kind for prefix, kind in _ZIP_PARTS if any(n.startswith(prefix) for n in names)), None)
    if found:
        return found
    if promised in _SIGNED:
        raise Unreadable("mismatch", f"it is named as a {_SIGNED[promised]} file but its content is a zip archive")
    raise Unreadable("unsupported", "it is a zip archive: unpack it to read the files inside")


def _check_limits(members: list[zipfile.ZipInfo], size: int, settings: ReadSettings) -> None:
    if len(members) > settings.max_members:
        raise Unreadable(
            "too_large",
            f"it holds {len(members):,} files, over the limit of {settings.max_members:,} (`max_members`)",
        )
    unpacked = sum(member.file_size for member in members)
    limit = settings.max_unpacked_megabytes * 1_000_000
    # Deflate reaches 1,032:1 on zeros; honest Office files stay below 100:1, small ones of any ratio are harmless.
    bomb = unpacked > 100_000_000 and unpacked > 250 * max(size, 1)
    if unpacked > limit or bomb:
        raise Unreadable(
            "too_large",
            f"its {size / 1e6:,.1f} MB unpack to {unpacked / 1e6:,.0f} MB, over the limit of "
            f"{settings.max_unpacked_megabytes:,} MB (`max_unpacked_megabytes`) or of 250 times its size",
        )


def old_office(data: bytes) -> Unreadable:
    """Why a file in Microsoft's compound format (OLE) is not read: a password, or a format older than 2007."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return Unreadable("encrypted", "it is protected by a password: save a copy without one")
    return Unreadable("unsupported", "it is an Office file of before 2007: save it as DOCX, XLSX, PPTX or PDF")
