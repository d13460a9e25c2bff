"""Sets of instructions, preferences and labelled texts: every row is kept, or left out by name for a reason."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

pytest.importorskip("numba")

from lavra.corpus.examples import read_examples
from lavra.corpus.labelled import read_labelled
from lavra.corpus.labels.account import Account, load_account, reason_of
from lavra.corpus.labels.entry import FILE, read_entries
from lavra.corpus.labels.repeats import require
from lavra.corpus.labels.settings import Taking
from lavra.corpus.labels.taking import take_in
from lavra.corpus.pairs import read_pairs
from lavra.corpus.preferences import read_judgements, read_preferences
from lavra.errors import LavraError

LONG = "o conselho decidiu que a reunião seguinte seria em março na sala da biblioteca velha"


KEEP = Taking(unlicensed="keep")


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., tuple[Account, Path]]:
    def run(*paths: Path, tests: dict[str, Path] | None = None, **settings: object) -> tuple[Account, Path]:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return take_in(paths, out, Taking(unlicensed="keep", **settings), tests=tests), out  # type: ignore[arg-type]

    return run


def left(out: Path) -> dict[str, tuple[str, str]]:
    rows = map(json.loads, (out / "left_out.jsonl").read_text("utf-8").splitlines())
    return {row["origin"]: (row["stage"], row.get("like", "")) for row in rows}


def test_each_row_of_every_file_is_kept_or_named(take, tmp_path: Path) -> None:
    first = jsonl(
        tmp_path / "a.jsonl",
        {"instruction": "Traduza.", "input": "cachorro", "output": "dog", "source": "dicionário.md"},
        {"prompt": "Oi", "completion": ""},
        "not JSON",
        {"fields": "unknown"},
        {"text": "uma frase", "label": "boa"},
    )
    (tmp_path / "b.jsonl.gz").write_bytes(
        gzip.compress(b'{"conversations": [{"from": "human", "value": "Oi?"}, {"from": "gpt", "value": "Bem!"}]}\n')
    )
    table = pyarrow.table({"question": ["Quem?"], "answer": ["Ninguém."], "license": ["CC0-1.0"]})
    parquet.write_table(table, tmp_path / "c.parquet")
    account, out = take(first, tmp_path / "b.jsonl.gz", tmp_path / "c.parquet")
    assert (account.kind, account.rows, account.kept, account.left_out) == ("instructions", 7, 3, 4)
    assert left(out) == {f"a.jsonl:{line}": ("row", "") for line in (2, 3, 4, 5)}
    assert sum(account.left["row"].values()) == 4
    assert account.licences == {"none stated": 2, "CC0-1.0": 1}
    entries = read_entries(out)
    assert [entry.origin for entry in entries] == ["a.jsonl:1", "b.jsonl.gz:1", "c.parquet:1"]
    assert entries[0].document == "dicionário.md"
    assert load_account(out) == account
    # what tuning reads of the set is what was read of the files
    read = read_examples([out / FILE])
    assert not read.problems
    assert read.examples[0].messages[0]["content"] == "Traduza.\n\ncachorro"
    assert read.examples[0].document == "dicionário.md"


def test_rows_that_repeat_or_contradict_are_found_within_and_between_files(take, tmp_path: Path) -> None:
    first = jsonl(
        tmp_path / "a.jsonl",
        {"prompt": "Quanto é 2 + 3?", "completion": "5"},
        {"prompt": LONG + " ontem", "completion": LONG + " foi o que se decidiu"},
        {"prompt": "Leia.\n" + LONG + "\nQuem decidiu?", "completion": "O conselho."},
    )
    second = jsonl(
        tmp_path / "b.jsonl",
        {"prompt": "quanto é  2 + 3?", "completion": "5"},  # the same
        {"prompt": "Quanto é 2 + 3?", "completion": "6"},  # says otherwise
        {"prompt": "Quanto é 4 + 4?", "completion": "5"},  # other numbers: another sum
        {"prompt": LONG + " hoje", "completion": LONG + " foi o que se decidiu"},  # nearly the same
        {"prompt": LONG + " ontem", "completion": "Não sei."},  # says otherwise
        {"prompt": "Leia.\n" + LONG + "\nOnde será?", "completion": "O conselho."},  # another question on one text
    )
    account, out = take(first, second)
    assert left(out) == {
        "b.jsonl:1": ("exact", "a.jsonl:1"),
        "b.jsonl:2": ("contradiction", "a.jsonl:1"),
        "b.jsonl:4": ("near", "a.jsonl:2"),
        "b.jsonl:5": ("contradiction", "a.jsonl:2"),
    }
    assert account.between == {"b.jsonl": {"a.jsonl": 2}}
    account, _ = take(first, second, similarity=0.0)
    assert account.kept == 6


def test_labels_that_contradict_each_other_all_go(take, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('texto;rótulo\nBom;sim\nbom ;não\nRuim;não\n"Nem; nem";sim\n', "utf-8")
    account, out = take(path)
    assert left(out) == {"a.csv:2": ("contradiction", ""), "a.csv:3": ("contradiction", "a.csv:2")}
    assert account.labels == {"não": 1, "sim": 1}
    words = ("bela", "boa", "cara", "crua", "bule", "casa")
    many = jsonl(tmp_path / "m.jsonl", *({"text": f"frase {word}", "label": ["a", word[0]]} for word in words))
    account, out = take(many, many=True)
    assert account.labels == {"a": 6, "b": 3, "c": 3}
    assert read_labelled(out / FILE, many=True).labels == ("a", "b", "c")


def test_preferences_come_back_as_they_were(take, tmp_path: Path) -> None:
    pairs = jsonl(
        tmp_path / "a.jsonl",
        {"prompt": "Oi?", "chosen": "Olá, tudo bem?", "rejected": "Não.", "margin": 2},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away"},
        {"prompt": "Cor?", "chosen": "Azul", "rejected": "Verde"},
        {"prompt": "Cor?", "chosen": "Verde", "rejected": "Azul"},
        {"prompt": "Cor?", "chosen": "Azul", "rejected": "azul "},
        {"prompt": "E?", "chosen": "Sim", "rejected": "Sim"},
    )
    account, out = take(pairs)
    assert account.kind == "preferences"
    assert list(left(out)) == ["a.jsonl:6", "a.jsonl:3", "a.jsonl:4"]
    back = read_preferences(out / FILE).examples
    assert [(pair.prompt[0]["content"], pair.chosen, pair.rejected, pair.margin) for pair in back[:2]] == [
        ("Oi?", "Olá, tudo bem?", "Não.", 2.0),
        ("Hi", "Hello", "Go away", 0.0),
    ]
    judged = jsonl(
        tmp_path / "j.jsonl",
        {"prompt": "Oi?", "completion": "Olá!", "label": True},
        {"prompt": "Oi?", "completion": "Vá.", "label": "bad"},
    )
    account, out = take(judged)
    assert [one.good for one in read_judgements(out / FILE).examples] == [True, False]


def test_pairs_come_back_as_they_were(take, tmp_path: Path) -> None:
    data = jsonl(
        tmp_path / "a.jsonl",
        {"anchor": "Férias", "positive": "Trinta dias por ano.", "negative": ["Diárias."], "document": "a.md"},
        {"query": "Diárias", "passage": "Pagas em cinco dias.", "source": "b.md"},
        {"query": "diárias ", "passage": "Pagas em cinco dias."},
        {"query": "Diárias", "passage": "Outro trecho que responde."},
        {"sentence1": "Um", "sentence2": "Dois", "score": 3},
        {"anchor": "Igual", "positive": "Igual"},
    )
    account, out = take(data)
    assert account.kind == "pairs"
    assert list(left(out)) == ["a.jsonl:6", "a.jsonl:5", "a.jsonl:3"]
    back = read_pairs(out / FILE).pairs
    assert [(pair.anchor, pair.negatives, pair.source) for pair in back] == [
        ("Férias", ("Diárias.",), "a.md"),
        ("Diárias", (), "b.md"),
        ("Diárias", (), ""),
    ]
    xml = tmp_path / "b.xml"
    xml.write_text(
        '<c><pair similarity="4.5"><t>Um gato dorme</t><h>O gato dorme</h></pair>'
        '<pair similarity="1"><t>Chove</t><h>Faz sol</h></pair>'
        '<pair similarity="2"><t>chove</t><h>Faz  sol</h></pair></c>'
    )
    account, out = take(xml)
    assert [(pair.anchor, pair.score) for pair in read_pairs(out / FILE).pairs] == [("Um gato dorme", 4.5)]
    assert account.left["contradiction"] == {
        "the same pair has another score elsewhere, and nothing says which is right": 2
    }


def test_what_a_test_holds_is_not_learned(take, tmp_path: Path) -> None:
    data = jsonl(
        tmp_path / "a.jsonl",
        {"prompt": "Capital de Portugal?", "completion": "Lisboa"},
        {"prompt": LONG + " ontem", "completion": "Sim."},
        {"prompt": "Repita:", "completion": "Foi assim: " + LONG + " e mais nada."},
        {"prompt": "Capital da Espanha?", "completion": "Madri"},
    )
    (tmp_path / "set").mkdir()
    take_in(
        [jsonl(tmp_path / "t.jsonl", {"prompt": "capital de  Portugal?", "completion": "x"})], tmp_path / "set", KEEP
    )
    other = jsonl(tmp_path / "exam.jsonl", {"enunciado": LONG + " hoje", "gabarito": "A"})
    account, out = take(data, tests={"set": tmp_path / "set", "exam": other})
    assert left(out) == {
        "a.jsonl:1": ("test", "set#1"),
        "a.jsonl:2": ("test", "exam#1"),
        "a.jsonl:3": ("test", "exam#1"),
    }
    assert account.tests == {"exam": 2, "set": 1}


def test_personal_data_is_replaced_wherever_a_model_reads_it(take, tmp_path: Path) -> None:
    pytest.importorskip("stdnum")
    call = {"type": "function", "function": {"name": "mail", "arguments": {"to": "ana@example.com"}}}
    data = jsonl(
        tmp_path / "a.jsonl",
        {"messages": [
            {"role": "user", "content": "Escreva a ana@example.com"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "ok"},
            {"role": "assistant", "content": "Feito: ana@example.com, CPF 529.982.247-25."},
        ]},
        {"prompt": "Oi", "completion": "Olá"},
    )  # fmt: skip
    account, out = take(data, personal="replace")
    text = (out / FILE).read_text("utf-8")
    assert "ana@" not in text
    assert text.count("[EMAIL]") == 3
    assert "[CPF]" in text
    assert account.personal == {"email": 3, "cpf": 1}
    assert take(data, personal="report")[0].personal == account.personal
    assert "ana@" in (out / FILE).read_text("utf-8")
    account, out = take(data, personal="drop")
    assert left(out) == {"a.jsonl:1": ("personal", "")}


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([{"prompt": "a", "completion": "b"}], {"unlicensed": "drop"}, "1 of 1 rows state no licence.*--licence"),
        ([{"a": 1}], {}, "no row is of a kind that is known; the fields are a"),
        (["{"], {}, r"a.jsonl:1: this line is not JSON"),
        ([], {}, "there is no row: write messages"),
        ([{"text": "a", "class": "b"}], {"label": "kind"}, "--label kind is no column: there are text, class"),
        ([{"Body ": "a", "label": "b"}], {"text": "boddy"}, "--text boddy is no column: there are Body , label"),
        ([{"prompt": "a", "completion": ""}], {}, r"no usable row in a.jsonl: a.jsonl:1: the answer is empty"),
        ([{"text": "a"}], {"kind": "classes"}, "it is of instructions, in a set of classes"),
    ],
)
def test_a_file_without_anything_says_why(tmp_path: Path, rows: list, settings: dict, said: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows)
    with pytest.raises(LavraError, match=said):
        take_in([path], tmp_path, Taking(**{"unlicensed": "keep", **settings}))


def test_files_are_named_apart_and_read_once(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        jsonl(tmp_path / folder / "a.jsonl", {"prompt": folder, "completion": folder})
    paths = [tmp_path / folder / "a.jsonl" for folder in ("x", "y")]
    account = take_in(paths, tmp_path, Taking(unlicensed="keep"))
    assert [file["name"] for file in account.files] == list(map(str, paths))
    with pytest.raises(LavraError, match="is given twice"):
        take_in([paths[0], paths[0]], tmp_path, Taking(unlicensed="keep"))


def test_damage_costs_the_rows_that_it_hits(take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in another encoding, one that is too long, a compressed file that was cut, one that grows without end."""
    monkeypatch.setattr("lavra.corpus.examples.rows._LONGEST_LINE", 200)

    def row(number: int) -> bytes:
        return json.dumps({"prompt": f"Pergunta {number}", "completion": f"Resposta {number}"}).encode() + b"\n"

    latin = row(1) + '{"prompt": "é", "completion": "ção"}\n'.encode("latin-1") + b'{"prompt": "%s"}\n' % (b"a" * 700)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + latin + row(2) + b"\n\n" + row(3))
    account, out = take(tmp_path / "a.jsonl")
    assert account.kept == 3
    assert list(left(out)) == ["a.jsonl:2", "a.jsonl:3"]
    assert [entry.origin for entry in read_entries(out)] == ["a.jsonl:1", "a.jsonl:4", "a.jsonl:7"]
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"".join(map(row, range(5000))))[:-2000])
    account, out = take(tmp_path / "cut.jsonl.gz", similarity=0.0)
    assert account.kept > 1000
    assert "the gzip data ends too soon" in (out / "left_out.jsonl").read_text("utf-8")
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(row(1) + b" " * 120_000_000))
    account, out = take(tmp_path / "bomb.jsonl.gz")
    assert account.kept == 1
    assert "more than" in (out / "left_out.jsonl").read_text("utf-8")


def test_the_page_of_the_account_holds_no_markup_of_a_file(take, tmp_path: Path) -> None:
    rows = [{"text": f"texto {n}", "label": "<script>alert(1)</script>" if n % 2 else "b|c"} for n in range(4)]
    _, out = take(jsonl(tmp_path / "a.jsonl", *rows))
    html = (out / "report.html").read_text("utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<td>b/c</td>" in html


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a", "label": "\ud800"},
        {"prompt": "a", "completion": "b", "source": "\ud800"},
        {"prompt": "\ud800", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 10**400},
        {"prompt": "a", "chosen": "b", "rejected": "c", "margin": float("nan")},
    ],
)
def test_what_no_file_can_hold_is_left_out(take, tmp_path: Path, row: dict) -> None:
    good = {name: "x" if name != "chosen" else "y" for name in row if name not in ("margin", "source")}
    _, out = take(jsonl(tmp_path / "a.jsonl", row, good))
    assert left(out) == {"a.jsonl:1": ("row", "")}


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(LavraError, match=r"judging needs no_such_library: install it.*'lavra\[corpus\]'"):
        require("judging", "json", "no_such_library")


def test_like_reasons_are_counted_together() -> None:
    assert reason_of("nearly the same (81%)") == reason_of("nearly the same (99%)") == "nearly the same"
    assert reason_of("3 cells where the header has 2; quote") == reason_of("5 cells where the header has 2; quote")
