"""Damaged model files by the thousand, in a process of its own whose memory is limited: not a test, run by one.

``python fuzz_worker.py KIND DIRECTORY COUNT``: of the whole model(s) in ``DIRECTORY`` hypothesis makes ``COUNT`` broken
ones, and each is loaded. Ends with code 0 if every case ended in a model or in a one-line LavraError, within seconds
and within ``HEADROOM``; prints how many did which.
"""

from __future__ import annotations

import copy
import json
import math
import resource
import shutil
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.model.weights import load_model

HEADROOM = 1 << 29
"""Bytes of address space that all cases together may add to the process."""
SECONDS = 10

EXTREME = [0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
WILD: list[Any] = [
    None, True, False, -1, 0, 1, 3, 2**24, 2**31, 2**63, 10**40, 0.5, 1e308, math.nan, math.inf, -math.inf, "", "x",
    "gelu", [], [1], [[[]]], {}, {"rope_type": "yarn"}, {"rope_type": "linear", "factor": "x"}, ["x"] * 100,
]  # fmt: skip
outcomes: Counter[str] = Counter()


def wild(data: st.DataObject) -> Any:
    """One of :data:`WILD`; its own copy, for what is drawn is damaged further."""
    return copy.deepcopy(data.draw(st.sampled_from(WILD)))


def load(path: Path) -> None:
    """One case."""
    signal.alarm(SECONDS)
    try:
        load_model(path, dtype=torch.float32)
    except LavraError as error:
        if "\n" in str(error):
            raise ValueError("the error is more than one line") from error
        outcomes["refused"] += 1
    else:
        outcomes["loaded"] += 1
    finally:
        signal.alarm(0)


def overwritten(data: st.DataObject, whole: bytes, reach: int) -> bytes:
    """``whole`` with some bytes or numbers of its first ``reach`` bytes replaced, and perhaps cut off."""
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, reach - 8))
        if data.draw(st.booleans()):
            damaged[place] = data.draw(st.integers(0, 255))
        else:
            form = data.draw(st.sampled_from(["<I", "<Q"]))
            number = data.draw(st.sampled_from(EXTREME)) % 2 ** (8 * struct.calcsize(form))
            damaged[place : place + struct.calcsize(form)] = struct.pack(form, number)
    if data.draw(st.integers(0, 3)) == 0:
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    return bytes(damaged)


def safetensors(data: st.DataObject, whole: Path, here: Path) -> None:
    """Lengths, dtypes, shapes and offsets that lie; entries that overlap, are missing, or are something else."""
    raw = (whole / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    if data.draw(st.integers(0, 4)) == 0:
        (here / "model.safetensors").write_bytes(overwritten(data, raw, size + 8))
        load(here)
        return
    header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    names = [name for name in header if name != "__metadata__"]
    numbers = st.sampled_from([-1, *EXTREME, 10**11, 1.5, "4", None])
    for _ in range(data.draw(st.integers(0, 3))):
        name = data.draw(st.sampled_from(names))
        what = data.draw(st.sampled_from(["dtype", "shape", "offsets", "entry", "same place", "gone", "new"]))
        entry = header.get(name)
        if what == "gone":
            header.pop(name, None)
        elif what == "entry":
            header[name] = wild(data)
        elif what == "new":
            header[data.draw(st.sampled_from(["", "x", "a" * 10_000, "\x00", "é"]))] = entry
        elif isinstance(entry, dict):
            if what == "dtype":
                entry["dtype"] = data.draw(
                    st.sampled_from(["F32", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F99", "", 7])
                )
            elif what == "shape":
                entry["shape"] = data.draw(st.lists(numbers, max_size=5) | st.sampled_from(WILD))
            elif what == "offsets":
                entry["data_offsets"] = data.draw(st.lists(numbers, max_size=3) | st.sampled_from(WILD))
            else:
                other = header.get(data.draw(st.sampled_from(names)))
                entry["data_offsets"] = other.get("data_offsets", [0, 4]) if isinstance(other, dict) else [0, 4]
    text = json.dumps(header).encode()
    length = data.draw(st.just(len(text)) | st.sampled_from([*EXTREME, 10**11, len(text) - 1, len(text) + 1]))
    (here / "model.safetensors").write_bytes(struct.pack("<Q", length) + text + body)
    load(here)


def gguf(data: st.DataObject, whole: Path, here: Path) -> None:
    """Counts, lengths, types, dimensions, offsets and alignment that lie."""
    raw = (whole / "model.gguf").read_bytes()
    (here / "model.gguf").write_bytes(overwritten(data, raw, min(len(raw), 3000)))
    load(here / "model.gguf")


def config(data: st.DataObject, whole: Path, here: Path) -> None:
    """Fields of every family's ``config.json``, in nested configs too: gone, or what they never are."""
    kind = data.draw(st.sampled_from(sorted(path.name for path in whole.iterdir())))
    fields = json.loads((whole / kind / "config.json").read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        owner = fields
        while True:
            name = data.draw(st.sampled_from(sorted(owner)))
            if not (isinstance(owner[name], dict) and owner[name] and data.draw(st.booleans())):
                break
            owner = owner[name]
        if data.draw(st.integers(0, 9)) == 0:
            del owner[name]
        else:
            owner[name] = wild(data)
        if not owner:
            break
    place = here / kind
    shutil.copytree(whole / kind, place, dirs_exist_ok=True, copy_function=_link)
    (place / "config.json").unlink()
    (place / "config.json").write_text(json.dumps(fields))
    load(place)


def _link(source: str, target: str) -> None:
    if not Path(target).exists():
        Path(target).hardlink_to(source)


def index(data: st.DataObject, whole: Path, here: Path) -> None:
    """An index of shards that is no index, or names what is not there."""
    wild = st.sampled_from(
        [*WILD, "model-1.safetensors", "../model.safetensors", "/dev/zero", ".", "..", "config.json"]
    )
    if data.draw(st.booleans()):
        value = {"weight_map": data.draw(st.dictionaries(st.text(max_size=9), wild, max_size=4) | wild)}
    else:
        value = data.draw(wild)
    text = json.dumps(value)
    if data.draw(st.integers(0, 5)) == 0:
        text = data.draw(
            st.sampled_from(["[" * 100_000, text[:-1], "\ufeff" + text, "", "{" * 3, '{"a": 1' + "0" * 9999])
        )
    (here / "model.safetensors.index.json").write_text(text)
    load(here)


KINDS: dict[str, Callable[[st.DataObject, Path, Path], None]] = {
    "safetensors": safetensors,
    "gguf": gguf,
    "config": config,
    "index": index,
}


def _late(number: int, frame: Any) -> None:
    raise TimeoutError(f"a case took more than {SECONDS} seconds")


def main() -> None:
    kind, whole, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory(dir=whole.parent) as folder:
        here = Path(folder)
        if (whole / "config.json").is_file():
            shutil.copy(whole / "config.json", here)

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def run(data: st.DataObject) -> None:
            KINDS[kind](data, whole, here)

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + HEADROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        run()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
