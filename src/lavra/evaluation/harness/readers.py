"""Data files of evaluation sets as rows, each set in the form in which its makers published it.

A task file says ``dataset_path: json`` or ``csv``, as for the harness itself, or one of the names below. Files are
strangers': every reader ends in rows or in one sentence.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from lavra.errors import LavraError
from lavra.evaluation.bias import readers as bias
from lavra.evaluation.harness import programs
from lavra.evaluation.recipes import readers as recipes

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_rows(reader: str, paths: Sequence[Path], **options: Any) -> list[Row]:
    """Rows of all ``paths``, at least one. Raises LavraError where a file cannot be read as what it is said to be."""
    rows: list[Row] = []
    for path in paths:
        try:
            rows += READERS[reader](path, **options)
        except (OSError, UnicodeDecodeError) as error:
            raise LavraError(f"{path} cannot be read ({error}): give the directory of the evaluation data.") from error
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise LavraError(f"{path} is not the data of its task ({what}): fetch it again.") from error
    if not rows:
        raise LavraError(f"there is nothing in {', '.join(map(str, paths))}: fetch the data again.")
    return rows


def read_json(path: Path, field: str | None = None) -> list[Row]:
    """A JSON list, one in the ``field`` of an object, or an object a line."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip()[:1] == "[" or field is not None:
        value = json.loads(text)
        return list(value[field] if field is not None else value)
    return [json.loads(line) for line in text.split("\n") if line.strip()]  # U+2028 is a character here


def read_csv(path: Path, delimiter: str = ",", names: Sequence[str] | None = None) -> list[Row]:
    """``names``: of the columns, where the first line is a row already."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, fieldnames=names))


def read_mmlu(path: Path) -> list[Row]:
    """``question, choice0 … choice3, answer`` with or without a head line; the answer a number or a letter. The name of
    the file says the subject."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and lines[0][0] == "question":
        lines = lines[1:]
    subject = path.stem.rsplit("_", 1)[0].replace("_", " ")
    return [
        {
            "question": line[0],
            "choices": line[1:5],
            "answer": LETTERS.index(line[5]) if line[5] in LETTERS[:4] else int(line[5]),
            "subject": subject,
        }
        for line in lines
    ]


def read_truthfulqa(path: Path, targets: str) -> list[Row]:
    """``targets``: mc1_targets or mc2_targets. The right ones come first in the file; here they do not."""
    return [
        shuffled({"question": row["question"], "choices": list(row[targets]), "labels": list(row[targets].values())})
        for row in read_json(path)
    ]


def read_bbh(path: Path) -> list[Row]:
    """BIG-bench Hard (Suzgun et al. 2022): options stand in the question, or are all the answers that there are in the
    file where they are few; else ``choices`` is empty."""
    examples = read_json(path, "examples")
    answers = sorted({example["target"] for example in examples})
    found = []
    for example in examples:
        text, target = example["input"], example["target"]
        lettered = re.findall(r"^(\([A-Z]\)) ", text, re.M)
        listed = re.findall(r"^- (.+?)\s*$", text.partition("Options:")[2], re.M)
        choices = lettered or listed or (answers if len(answers) <= 20 else [])
        if choices and target not in choices:
            continue  # a few published rows have an answer that is no option
        found.append({"input": text, "target": target, "choices": choices, "gold": _place(choices, target)})
    return found


def read_bigbench(path: Path) -> list[Row]:
    """A task of BIG-bench (Srivastava et al. 2022, doc/doc.md): the examples of ``task.json`` with its prefixes, the
    choices listed below the question unless it says otherwise. ``gold``: the best choices."""
    task = json.loads(path.read_text(encoding="utf-8"))
    before, between = task.get("example_input_prefix", "\nQ: "), task.get("example_output_prefix", "\nA: ")
    listed, each = task.get("append_choices_to_input", True), task.get("choice_prefix", "\n  choice: ")
    found = []
    for example in task["examples"]:
        scores = example.get("target_scores") or {}
        choices = list(scores)
        text = f"{before}{example['input']}" + ("".join(each + choice for choice in choices) if listed else "")
        targets = example.get("target", [choice for choice in choices if scores[choice] == max(scores.values())])
        targets = [targets] if isinstance(targets, str) else [str(target) for target in targets]
        gold = [_place(choices, target) for target in targets if target in choices]
        question = task.get("task_prefix", "") + text + between.rstrip(" ")
        found.append({"question": question.lstrip("\n"), "choices": choices, "gold": gold, "targets": targets})
    return found


def read_assin(path: Path) -> list[Row]:
    """ASSIN's XML: two sentences, whether the second follows, and how alike they are from 1 to 5."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.parse(str(path), parser).getroot()
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error
    return [
        {
            "premise": pair.findtext("t").strip(),
            "hypothesis": pair.findtext("h").strip(),
            "entailment": int(pair.get("entailment") == "Entailment"),
            "similarity": float(pair.get("similarity")),
        }
        for pair in root.iter("pair")
    ]


def read_enem(path: Path, images: bool = False) -> list[Row]:
    """Brazil's national exam, of whichever year's form. Questions that were annulled are left out, and unless
    ``images`` those that cannot be answered without seeing one."""
    found = []
    for row in read_json(path):
        label = row["label"].lower()
        if label not in "abcde" or (row["IU"] and not images):
            continue
        text = "\n".join(part for part in (row.get("context", ""), row["question"]) if part)
        options = row.get("options") or row["alternatives"]
        found.append({"question": text, "choices": list(options), "gold": "abcde".index(label)})
    return found


def read_squad(path: Path) -> list[Row]:
    """SQuAD's JSON: contexts with questions and their answers; ``answers`` are different ones."""
    paragraphs = [p for entry in json.loads(path.read_text(encoding="utf-8"))["data"] for p in entry["paragraphs"]]
    return [
        {
            "context": paragraph["context"],
            "question": question["question"],
            "answers": list(dict.fromkeys(answer["text"] for answer in question["answers"])),
        }
        for paragraph in paragraphs
        for question in paragraph["qas"]
        if question["answers"]
    ]


def read_pira(path: Path) -> list[Row]:
    """Pirá's questions of multiple choice."""
    return [
        {
            "text": row["text"],
            "question": row["question"].strip(),
            "choices": [row[letter].strip() for letter in "ABCDE"],
            "gold": "ABCDE".index(row["alternative"].strip()),
        }
        for row in read_csv(path)
    ]


def read_xwinograd(path: Path, language: str) -> list[Row]:
    """Tikhonov and Ryabinin 2021: a sentence with a pronoun, and whom it may stand for. ``context_options``: the
    sentence up to the pronoun, which is replaced by either; ``continuation``: what follows."""
    found = []
    for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        name, _, _, sentence, words, pronoun, candidates = line.split("\t")[:7]
        if name != language:
            continue
        _, (start, end), _ = json.loads(pronoun)
        quoted = [word.replace("``", '"').replace("''", '"') for word in json.loads(words)]
        before, after = _around(sentence, quoted, start, end)
        options = json.loads(candidates)
        if not after or len(options) != 2:
            continue
        found.append(
            {
                "context_options": [f"{before}{option[0]}" for option in options],
                "continuation": after,
                "gold": [bool(option[3]) for option in options].index(True),
            }
        )
    return found


def _around(sentence: str, words: Sequence[str], start: int, end: int) -> tuple[str, str]:
    """What stands before and after the words ``start`` to ``end``, found by counting through the text."""
    place = 0
    for word in words[:start]:
        place = sentence.index(word, place) + len(word)
    begin = sentence.index(words[start], place)
    stop = begin
    for word in words[start:end]:
        stop = sentence.index(word, stop) + len(word)
    return sentence[:begin], sentence[stop:].strip()


def read_toldbr(path: Path) -> list[Row]:
    """Tweets that three people labelled in six kinds of offence; toxic is what any of them called so in any."""
    kinds = ("homophobia", "obscene", "insult", "racism", "misogyny", "xenophobia")
    return [
        {"text": row["text"].strip(), "toxic": int(any(float(row[kind]) > 0 for kind in kinds))}
        for row in read_csv(path)
    ]


def read_text(path: Path) -> list[Row]:
    """A text whose perplexity is wanted: the lines' ``text`` of a JSONL file, else the whole file."""
    if path.suffix == ".jsonl":
        return [{"text": row["text"]} for row in read_json(path)]
    text = path.read_text(encoding="utf-8")
    return [{"text": text}] if text.strip() else []


READERS: dict[str, Callable[..., list[Row]]] = {
    "json": read_json,
    "csv": read_csv,
    "text": read_text,
    "mmlu": read_mmlu,
    "truthfulqa": read_truthfulqa,
    "bbh": read_bbh,
    "bigbench": read_bigbench,
    "assin": read_assin,
    "enem": read_enem,
    "squad": read_squad,
    "pira": read_pira,
    "xwinograd": read_xwinograd,
    "toldbr": read_toldbr,
    **bias.READERS,
    **programs.READERS,
    **recipes.READERS,
}


# ── shuffling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def shuffled(row: Row) -> Row:
    """The row with its ``choices`` in an order that only its own text decides, and ``gold`` or ``labels`` with them."""
    order = _order(row)
    choices = [row["choices"][place] for place in order]
    found = {**row, "choices": choices}
    if "labels" in row:
        found["labels"] = [row["labels"][place] for place in order]
        found["gold"] = found["labels"].index(1)
    else:
        found["gold"] = order.index(row["gold"])
    return found


_OPTION = re.compile(r"^([A-Z])\. (.*)$", re.M)


def relettered(row: Row) -> Row:
    """A row whose ``query`` lists options ``A. …`` and whose choices are the letters: the options change places, the
    letters stay where they are."""
    options = _OPTION.findall(row["query"])[-len(row["choices"]) :]
    if [letter for letter, _ in options] != row["choices"]:
        raise ValueError(f"a query does not list the options {row['choices']}")
    order = _order(row)
    texts = iter([options[place][1] for place in order])
    first = row["query"].rindex(f"{options[0][0]}. {options[0][1]}")
    listed = _OPTION.sub(lambda match: f"{match[1]}. {next(texts)}", row["query"][first:])
    return {**row, "query": row["query"][:first] + listed, "gold": order.index(row["gold"])}


def _order(row: Row) -> list[int]:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False)
    order = list(range(len(row["choices"])))
    Random(sha256(text.encode()).hexdigest()).shuffle(order)
    return order


ARRANGED: dict[str, Callable[[Row], Row]] = {"shuffled": shuffled, "relettered": relettered}


def _place(choices: Sequence[str], target: str) -> int:
    return choices.index(target) if target in choices else -1
