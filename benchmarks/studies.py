"""A study of a public set of questions, as the table in docs/results/README.md.

    python benchmarks/studies.py ../shared/data/retrieval/faquad-pt [--ways prompt,few-shot,rag] [--limit 50]
    python benchmarks/studies.py --from study.json

A set is a folder in BEIR's form whose queries have answers: its documents are ingested, its questions are asked, and
the ways that learn learn from questions about other documents. ``--from`` prints the table
of a study that is done.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavra.workspace.studying.report.verdict import interval, verdict
from lavra.workspace.studying.run import plan_study, study
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.workspace import Workspace

MEASURES = {
    "quality": "quality",
    "token_f1": "F1",
    "recall@5": "recall@5",
    "grounded": "grounded",
    "refusal": "answers or refuses rightly",
}


def table(record: Mapping[str, Any]) -> str:
    """Markdown: a way a row, best first; then the decision."""
    heads = ("way", "questions", *MEASURES.values(), "s an answer", "to build")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    ways = [way for way in record["ways"] if way.get("measures")]
    for way in sorted(ways, key=lambda way: -way["measures"]["quality"]["mean"]):
        figures = [interval(way["measures"][n]) if n in way["measures"] else "–" for n in MEASURES]
        built = way["built"]["seconds"]
        cells = [way["name"], str(way["answered"]), *figures, f"{way['latency']['whole_p50']:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{built / 60:.1f} min" if built else "–"]) + " |")
    return "\n".join([*lines, "", "> " + " ".join(verdict(record)["en"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--ways", default="prompt,few-shot,rag")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--from", dest="done", type=Path)
    options = parser.parse_args()
    if options.done:
        print(table(json.loads(options.done.read_text("utf-8"))))
        return
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace.init(Path(place) / "workspace")
        workspace.pull()
        workspace.ingest([options.folder / "corpus.jsonl"])
        workspace.index()
        settings = StudySettings(
            ways=tuple(options.ways.split(",")),
            questions=options.folder,
            limit=options.limit,
            max_tokens=options.max_tokens,
        )
        print(table(study(plan_study(workspace, settings), say=print).record))


if __name__ == "__main__":
    main()
