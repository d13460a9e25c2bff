"""How often exchanging gender by rules gives the sentence that people wrote: MT-GenEval's pairs (Currey et al. 2022).

Both directions of each pair, Portuguese and, of the source side, English. *exact*: the very sentence; *words*: of those
that people changed, the share changed in the same way (recall), and of those that the rules changed, the share that
people changed in the same way (precision). The rules were written looking at the development set; the test set judges.

    python benchmarks/swaps.py [--data ../shared/data] [--wrong 20]
"""

from __future__ import annotations

import argparse
import difflib
from collections import Counter
from pathlib import Path

from lavra.evaluation.bias.swapping import WORD, swapped
from lavra.evaluation.intervals import mean_interval


def read(folder: Path, part: str, language: str) -> list[tuple[str, str]]:
    """Masculine and feminine sentences."""
    name = "geneval-sentences-{}-" + f"{part}.en_pt.{language}"
    sides = [
        (folder / part / name.format(gender)).read_text(encoding="utf-8").splitlines()
        for gender in ("masculine", "feminine")
    ]
    return [(one.strip(), two.strip()) for one, two in zip(*sides, strict=True) if one.strip() != two.strip()]


def changes(one: str, two: str) -> Counter[tuple[int, str]]:
    """Which words of ``one`` stand otherwise in ``two``: their places, and what is there."""
    before, after = (WORD.findall(text) for text in (one, two))
    found: Counter[tuple[int, str]] = Counter()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "replace":
            found.update((a + number, word) for number, word in enumerate(after[c:d]))
        elif kind == "delete":
            found.update((number, "") for number in range(a, b))
    return found


def measure(pairs: list[tuple[str, str]], language: str, shown: int) -> str:
    exact: list[float] = []
    same = changed = wanted = 0
    for source, target in [*pairs, *((two, one) for one, two in pairs)]:
        found = swapped(source, language) or source
        right, ours = changes(source, target), changes(source, found)
        same, changed, wanted = same + (right & ours).total(), changed + ours.total(), wanted + right.total()
        exact.append(float(found == target))
        if not exact[-1] and shown:
            shown -= 1
            print(f"  {source}\n  should be: {target}\n  is:        {found}\n")
    precision, recall = same / max(1, changed), same / max(1, wanted)
    return (
        f"exact {mean_interval(exact)}, words: precision {precision:.3f}, recall {recall:.3f}; {len(exact)} sentences"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--wrong", type=int, default=0, help="show so many wrong ones of the Portuguese development set"
    )
    options = parser.parse_args()
    folder = options.data / "eval" / "pt" / "mtgeneval" / "sentences"
    for part in ("dev", "test"):
        for language in ("pt", "en"):
            wrong = options.wrong if (part, language) == ("dev", "pt") else 0
            print(f"{language} {part}: {measure(read(folder, part, language), language, wrong)}")


if __name__ == "__main__":
    main()
