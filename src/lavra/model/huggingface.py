"""Models from a Hugging Face hub, or a mirror of one (``HF_ENDPOINT``), through ``huggingface_hub``.

That library resumes, checks and shares one cache with every other program on the machine, so its cache is used as it
is. Of a repository only what Lavra reads is fetched: configuration, tokenizer, and safetensors or one GGUF file; never
pickles, and never the same weights in a second format.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.model.download import Progress

DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
    "README.md",
    "LICENSE*",
)
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")


def parse_hf(reference: str) -> tuple[str, str | None, str | None]:
    """``hf:org/name[@revision][:file]`` as (repository, revision, file)."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([^:@\s]+))?(?::(.+))?", reference)
    if not match:
        raise LavraError(
            f"{reference!r} is not a hub reference; write hf:org/name, hf:org/name@revision or hf:org/name:file.gguf"
        )
    return match[1], match[2], match[3]


def choose(names: Sequence[str], wanted: str | None, reference: str) -> list[str]:
    """The files of a repository that make the model.

    ``wanted``: the one GGUF file to take. Raises ``LavraError`` where there is nothing Lavra reads, or a choice that
    only the user can make.
    """
    if wanted is not None:
        if wanted not in names:
            raise LavraError(
                f"{reference.rpartition(':')[0]} has no file {wanted}; it has {_some(_ggufs(names)) or 'no GGUF file'}"
            )
        return [wanted]
    weights = [name for name in names if _matches(name, WEIGHTS)]
    if any(name.endswith(".safetensors") for name in weights):
        return sorted([*weights, *(name for name in names if _matches(name, DESCRIPTION))])
    ggufs = _ggufs(names)
    if len(ggufs) == 1:
        return ggufs
    if ggufs:
        raise LavraError(
            f"{reference} has {len(ggufs)} GGUF files; name one, for example {reference}:{ggufs[0]} "
            f"(there are {_some(ggufs)})"
        )
    raise LavraError(
        f"{reference} has neither safetensors nor GGUF weights; weights in pickle files are not read because they can "
        "run code"
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    # A pattern without a slash is for the repository's top only; fnmatch's * would cross slashes.
    return any(name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _ggufs(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(".gguf"))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def snapshot(reference: str, *, progress: Progress | None = None) -> Path:
    """Bring the model here, or find it in the library's cache, and say where it is.

    Raises ``LavraError`` in one sentence: no such repository, no permission, no network.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    repository, revision, wanted = parse_hf(reference)
    try:
        # Its offline switch, and a name or proxy that does not answer, are both connection errors to us.
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    except HfHubHTTPError as error:
        raise LavraError(_refusal(repository, revision, error)) from error
    except _unanswered() as error:
        cached = _from_cache(repository, revision, wanted, reference)
        if cached is not None:
            return cached
        raise LavraError(
            f"{reference} is not on this machine and its hub cannot be reached ({_why(error)}); connect, set "
            "HF_ENDPOINT to a mirror, or copy the model here and give its path"
        ) from error
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    files = choose(sorted(sizes), wanted, reference)
    total = sum(sizes[name] for name in files)
    done = 0
    root: Path | None = None
    try:
        for name in sorted(files, key=lambda name: sizes[name]):
            if progress:
                progress(done, total)
            local = huggingface_hub.hf_hub_download(repository, name, revision=info.sha)
            done += sizes[name]
            root = root or Path(local).parents[name.count("/")]
        if progress:
            progress(total, total)
    except HfHubHTTPError as error:
        raise LavraError(_refusal(repository, revision, error)) from error
    except _unanswered() as error:
        raise LavraError(
            f"the download of {reference} stopped ({_why(error)}); the same command continues where it stopped"
        ) from error
    assert root is not None
    return root / files[0] if files[0].endswith(".gguf") else root


def _from_cache(repository: str, revision: str | None, wanted: str | None, reference: str) -> Path | None:
    import huggingface_hub

    try:
        root = Path(huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True))
        names = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]
        files = choose(sorted(names), wanted, reference)
    except (OSError, LavraError, ValueError):
        return None
    return root / files[0] if files[0].endswith(".gguf") else root


def _unanswered() -> tuple[type[Exception], ...]:
    """What the library raises when nobody answers: OSError (its own offline switch too), or its HTTP client's errors.

    The client was requests (whose errors are OSErrors), then httpx, then httpx2: whichever it has loaded counts.
    """
    clients = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return (OSError, *(client.TransportError for client in clients if client is not None))


def _refusal(repository: str, revision: str | None, error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    where = repository + (f" at revision {revision}" if revision else "")
    if status in (401, 403):
        return (
            f"the hub does not give {where} to you: it does not exist, is private, or its terms must be accepted on "
            "its page; log in with 'hf auth login' or set HF_TOKEN"
        )
    if status == 404:
        return f"the hub has no model {where}; check the name and the revision"
    return f"the hub answered HTTP {status} for {where}; try again later"


def _why(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
