"""Does training data with both genders make a model's bias less? Counterfactual augmentation (Zhao et al. 2018; Lu et
al. 2020) of a real text, a model tuned on either, and what both think afterwards.

The text is passages of novels (LAMBADA, Paperno et al. 2016) that speak much of women and men. The models are tuned for
as many steps on the passages as on the passages with their counterparts, so that both read as much; the second reads
each passage about half as often. Measured are the pairs that come with Lavra, half of CrowS-Pairs, WinoBias, and
general text.

    python benchmarks/both_genders.py FOLDER [--data ../shared/data] [--steps 100]   # about 20 minutes of one core

What was done in FOLDER is not done again: stopped, it goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PEOPLE = re.compile(
    r"\b(he|she|him|her|his|hers|himself|herself|man|woman|men|women|father|mother|son|daughter|brother|sister|husband"
    r"|wife|king|queen|boy|girl|sir|lady|gentleman|mr|mrs|uncle|aunt)\b",
    re.IGNORECASE,
)
LEAST, SHORTEST, LONGEST, PASSAGES = 5, 300, 700, 800
"""Words of people in a passage, characters, and passages."""


def passages(data: Path) -> list[str]:
    """Of LAMBADA's 5,153 those that speak of people, 800 by lot."""
    file = data / "eval/gauntlet/local_data/language_understanding/lambada_openai.jsonl"
    found = []
    for row in map(json.loads, file.open(encoding="utf-8")):
        text = " ".join(f"{row['context']} {row['continuation']}".split())
        if len(PEOPLE.findall(text)) >= LEAST and SHORTEST <= len(text) <= LONGEST:
            found.append(text)
    random.Random(0).shuffle(found)
    return found[:PASSAGES]


def lavra(folder: Path, *words: str) -> str:
    """A command, shown, and what it printed."""
    print(f"$ lavra {' '.join(words)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "lavra", *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def beside(folder: Path, model: str, other: str, data: str, limit: int) -> dict[str, Any]:
    """By measure: both models and the change from one to the other, item by item."""
    given = [] if model == "base" else [model]
    text = lavra(folder, "bias", "measure", *given, "--beside", other, "--data", data, "--limit", str(limit), "--json")
    return {one["measure"]: one for one in json.loads(text)}


def said(interval: dict[str, float], sign: str = "") -> str:
    return f"{interval['mean']:{sign}.3f} [{interval['low']:{sign}.3f}, {interval['high']:{sign}.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--limit", type=int, default=750, help="pairs of CrowS-Pairs")
    options = parser.parse_args()
    folder, data = options.folder, str((options.data / "eval").resolve())
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"text": text}) + "\n" for text in passages(options.data)]
    (folder / "novels.jsonl").write_text("".join(rows), encoding="utf-8")
    if not (folder / "lavra.toml").exists():
        lavra(folder, "init")
    print(lavra(folder, "bias", "augment", "novels.jsonl", "--out", "both.jsonl", "--overwrite"))
    for name in ("novels", "both"):
        how = ["--learn", "all", "--steps", str(options.steps), "--batch-tokens", "1024", "--context", "512", "--yes"]
        lavra(folder, "tune", f"{name}.jsonl", *how, "--name", name)
    first, second = (
        beside(folder, "base", "novels", data, options.limit),
        beside(folder, "novels", "both", data, options.limit),
    )
    print("| measure | items | as it came | passages | change | both genders | change from passages | p |")
    print("|---|---|---|---|---|---|---|---|")
    for name, one in first.items():
        other = second[name]
        cells = [name, str(one["before"]["count"]), said(one["before"]), said(one["after"]), said(one["change"], "+")]
        cells += [said(other["after"]), said(other["change"], "+"), f"{other['change']['p']:.3f}"]
        print(f"| {' | '.join(cells)} |")
    for model in ("smollm2-135m", "novels", "both"):
        lavra(folder, "evaluate", model, "--tasks", "winobias", "--data", data, "--name", f"wino-{model}")
    for one, other in (("smollm2-135m", "novels"), ("novels", "both"), ("smollm2-135m", "both")):
        print(lavra(folder, "evaluate", "--compare", f"wino-{one}", f"wino-{other}"))


if __name__ == "__main__":
    main()
