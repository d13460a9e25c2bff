"""A corpus is cleaned for training: every stage drops what it should, says so, and a killed cleaning continues."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("daft")
pytest.importorskip("numba")
pytest.importorskip("stdnum")
pytest.importorskip("ftfy")
import pyarrow.parquet as parquet

from lavra.corpus.cleaning.report import CleaningReport, load_cleaning
from lavra.corpus.cleaning.run import clean_corpus
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.document import Document, Span
from lavra.corpus.ingest import load_documents
from lavra.corpus.storage import FILE_NAME, CorpusWriter
from lavra.errors import LavraError

TOPICS = (
    ("orçamento", "despesas", "conselho"),
    ("biblioteca", "livros", "leitores"),
    ("hospital", "consultas", "médicos"),
    ("escola", "turmas", "professores"),
    ("museu", "obras", "visitantes"),
    ("porto", "navios", "contentores"),
)


def prose(number: int) -> str:
    """A page of Portuguese that breaks no rule and is like no other."""
    one, two, three = TOPICS[number % len(TOPICS)]
    year = ("primavera", "verão", "outono", "inverno")[number % 4]
    return (
        f"A direção discutiu na {year} o estado da casa, e o relatório sobre {one} foi aprovado sem votos contra. "
        f"Depois de ouvir os responsáveis por {two}, a comissão pediu que os dados fossem revistos até ao fim do mês. "
        f"Não se chegou a acordo quanto a {three}, porque faltavam elementos que só o arquivo central podia fornecer. "
        f"Ficou decidido que a próxima reunião do grupo {number} trataria de {one} com mais tempo, em local a indicar."
    )


def document(name: str, text: str, **fields: object) -> Document:
    values: dict[str, object] = {"licence": "CC-BY-4.0", "language": "pt", **fields}
    return Document(source=f"docs/{name}", text=text, **values)  # type: ignore[arg-type]


def corpus(place: Path, documents: list[Document]) -> Path:
    with CorpusWriter(place / FILE_NAME) as writer:
        for each in documents:
            writer.add(each, "docs")
    return place


EXAM = "Qual das seguintes afirmações sobre a fotossíntese das plantas verdes está correta segundo o texto que leu?"
GERMAN = (
    "Der Ausschuss hat den Bericht über die Lage des Hauses ohne Gegenstimme gebilligt. Nachdem die Zuständigen gehört "
    "worden waren, bat man darum, sämtliche Angaben bis zum Monatsende noch einmal zu prüfen. Eine Einigung kam nicht "
    "zustande, weil wichtige Unterlagen fehlten, die nur das Archiv liefern konnte. Beim nächsten Treffen soll dafür "
    "mehr Zeit bleiben, und der Ort wird allen Beteiligten noch rechtzeitig bekannt gegeben werden."
)


LENIENT = {"gopher_quality.min_words": 1, "gopher_quality.min_stop_words": 0}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    longer = prose(0) + " O texto foi lido em voz alta e ninguém pediu a palavra."
    return corpus(
        tmp_path / "source",
        [
            document("good.md", prose(0)),
            document("better.md", longer),
            document("copy.md", prose(1)),
            document("original.md", prose(1)),
            document("secret.md", prose(1), roles=("legal",)),
            document("short.md", "Demasiado curto."),
            document("german.md", GERMAN),
            document("unlicensed.md", prose(2), licence=None),
            document("person.md", prose(3) + " Contacto: CPF 529.982.247-25, maria@exemplo.com.br."),
            document("mojibake.md", prose(4).encode().decode("latin-1")),
            document("exam.md", prose(5) + " " + EXAM),
        ],
    )


def cleaned(
    source: Path, tmp_path: Path, **changes: object
) -> tuple[dict[str, Document], CleaningReport, dict[str, str]]:
    settings = replace(Cleaning(), **changes)  # type: ignore[arg-type]
    out = tmp_path / "out"
    report = clean_corpus(source, out, settings, tmp_path / "work")
    dropped = parquet.read_table(out / "dropped.parquet").to_pylist()
    kept = {each.source.removeprefix("docs/"): each for each in load_documents(out)}
    assert load_cleaning(out).markdown() == report.markdown()
    return kept, report, {row["source"].removeprefix("docs/"): row["reason"] for row in dropped}


def test_each_stage_drops_what_it_should_and_says_why(source: Path, tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    exam.write_text('{"id": 7, "question": "' + EXAM + '"}\n', encoding="utf-8")
    kept, report, dropped = cleaned(source, tmp_path, evaluation_sets={"exam": str(exam)})
    assert set(kept) == {"better.md", "copy.md", "secret.md", "person.md", "mojibake.md"}
    assert dropped == {
        "good.md": dropped["good.md"],
        "original.md": "it has the same text as docs/copy.md",
        "short.md": dropped["short.md"],
        "german.md": "it is in none of pt, es, en",
        "unlicensed.md": "it states no licence",
        "exam.md": "it holds the evaluation item exam#0",
    }
    assert dropped["good.md"].endswith("% like docs/better.md, which stays")
    assert "gopher_quality.min_words" in dropped["short.md"]
    assert report.documents_in == 11
    assert report.documents_kept == 5
    dropping = {stage.name: stage.documents_dropped for stage in report.stages if stage.documents_dropped}
    stages = ("licence", "language", "quality", "exact", "near", "contamination")
    assert dropping == dict.fromkeys(stages, 1)
    assert report.clusters == {"docs/better.md": ["docs/good.md"]}
    assert report.personal == {"cpf": 1, "email": 1}
    assert report.bytes_kept == report.bytes_in - sum(stage.bytes_dropped for stage in report.stages)


def test_what_stays_is_mended_and_holds_no_personal_data(source: Path, tmp_path: Path) -> None:
    kept, _, _ = cleaned(source, tmp_path)
    assert kept["person.md"].text.endswith("Contacto: CPF [CPF], [EMAIL].")
    assert kept["mojibake.md"].text == prose(4)
    assert kept["mojibake.md"].hash == hashlib.sha256(prose(4).encode()).hexdigest()
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"maria@" not in written
    assert "529.982" not in (tmp_path / "out" / "report.json").read_text(encoding="utf-8")


def test_a_document_for_other_readers_is_another_document(source: Path, tmp_path: Path) -> None:
    kept, _, _ = cleaned(source, tmp_path)
    assert kept["secret.md"].text == kept["copy.md"].text
    assert kept["secret.md"].roles == ("legal",)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"unlicensed": "keep"}, {"unlicensed.md"}),
        ({"other_languages": "keep"}, {"german.md"}),
        ({"rules": ("gopher_quality",), "thresholds": LENIENT}, {"short.md"}),
        ({"stages": ("exact", "licence", "language", "quality")}, {"good.md"}),
        ({"personal": "drop"}, {"-person.md"}),
        ({"licences": ("MIT",)}, {"-better.md", "-copy.md", "-secret.md", "-person.md", "-mojibake.md", "-exam.md"}),
    ],
)
def test_every_setting_does_what_it_says(
    source: Path, tmp_path: Path, changes: dict[str, object], more: set[str]
) -> None:
    usual = {"better.md", "copy.md", "secret.md", "person.md", "mojibake.md", "exam.md"}
    kept, _, _ = cleaned(source, tmp_path, **changes)
    assert set(kept) == (usual | {name for name in more if name[0] != "-"}) - {name[1:] for name in more}


def test_places_in_a_text_move_with_it(tmp_path: Path) -> None:
    text = "Título  \n\n\n\n" + prose(0) + "\n\nFim de maria@exemplo.com.br\n" + prose(1)
    end = text.index("\n", text.index("Fim"))
    spans = (Span("heading", 0, 6, "Título", 1), Span("heading", text.index("Fim"), end, "Fim", 2))
    source = corpus(tmp_path / "source", [document("a.md", text, spans=spans)])
    kept, _, _ = cleaned(source, tmp_path, stages=("normalise", "personal"))
    there = kept["a.md"]
    assert [there.text[span.start : span.end] for span in there.spans] == ["Título", "Fim de [EMAIL]"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thresholds": {"gopher_quality.min_wordz": 3.0}}, "no rule 'gopher_quality.min_wordz'"),
        ({"evaluation_sets": {"x": "/nowhere.jsonl"}}, "nowhere.jsonl cannot be read"),
        ({"personal_kinds": ("shoes",)}, "not a kind of personal data"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    source: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(LavraError, match=said):
        cleaned(source, tmp_path, **changes)
    assert not (tmp_path / "out").exists()


def test_unknown_stages_and_rules_are_refused() -> None:
    with pytest.raises(LavraError, match="stages has no 'polish'"):
        Cleaning(stages=("polish",))
    with pytest.raises(LavraError, match="rules has no 'gofer'"):
        Cleaning(rules=("gofer",))


SCRIPT = """
import sys
from pathlib import Path
from lavra.corpus.cleaning import run
from lavra.corpus.cleaning.settings import STAGES, Cleaning
run._SHARD_BYTES = 1
place = Path(sys.argv[1])
done = run.clean_corpus(place / "source", place / sys.argv[2],
    Cleaning(unlicensed="keep", stages=STAGES), place / sys.argv[3],
    progress=lambda at, of, what: (print(at, flush=True), sys.argv[4] == str(at) and __import__("os")._exit(9)))
"""


def _many(place: Path, count: int = 240) -> None:
    import lavra.corpus.storage as storage

    kept, storage._GROUP_ROWS = storage._GROUP_ROWS, 60
    try:
        corpus(
            place / "source",
            [
                document(f"{i}.md", prose(i) + f" Ata {i}: {chr(97 + i % 26) * 3}." + f"\n\n{CLAUSE}" * (i % 5 == 0))
                for i in range(count)
            ],
        )
    finally:
        storage._GROUP_ROWS = kept


def _run(place: Path, out: str, work: str, stop: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(place), out, work, stop]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=300, check=False)


def _bytes(place: Path, out: str) -> dict[str, bytes]:
    return {name: (place / out / name).read_bytes() for name in (FILE_NAME, "dropped.parquet")}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of four shards, and what a cleaning that nothing disturbs makes of it."""
    place = tmp_path_factory.mktemp("many")
    _many(place)
    assert _run(place, "whole", "work").returncode == 0
    return place


def test_a_killed_cleaning_continues_and_gives_the_same_bytes(many: Path) -> None:
    assert _run(many, "again", "killed", stop="2").returncode == 9
    assert not (many / "again").exists()
    treated = {path.name: path.stat().st_mtime_ns for path in (many / "killed").glob("*.parquet")}
    assert len(treated) == 2
    assert _run(many, "again", "killed").returncode == 0
    assert all((many / "killed" / name).stat().st_mtime_ns == at for name, at in treated.items())
    assert _bytes(many, "again") == _bytes(many, "whole")


def test_a_cluster_of_two_workers_gives_the_same_bytes(many: Path) -> None:
    pytest.importorskip("ray")
    done = _run(many, "there", "work-there", LAVRA_RUNNER="ray")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Started a local Ray instance" in done.stderr
    assert _bytes(many, "there") == _bytes(many, "whole")


def test_what_an_older_corpus_has_already_goes(source: Path, tmp_path: Path) -> None:
    edited = prose(1) + " Assinam todos os presentes."
    older = corpus(tmp_path / "older", [document("old.md", edited), document("hidden.md", prose(3), roles=("board",))])
    out = tmp_path / "out"
    report = clean_corpus(source, out, Cleaning(), tmp_path / "work", against={"first": older})
    kept = {each.source.removeprefix("docs/") for each in load_documents(out)}
    assert kept == {"better.md", "secret.md", "person.md", "mojibake.md", "exam.md"}  # copy.md is in the older one
    assert report.clusters["first:docs/old.md"] == ["docs/copy.md"]
    assert len(report.clusters) == 2


def test_the_report_says_what_the_corpus_is_made_of(source: Path, tmp_path: Path) -> None:
    _, report, _ = cleaned(source, tmp_path, unlicensed="keep", balance="licences", balance_alpha=0.0)
    made_of = report.representation
    assert {name: tuple(sizes) for name, sizes in made_of["languages"].items()} == {"pt": (7, text_bytes(tmp_path))}
    assert set(made_of["licences"]) == {"CC-BY-4.0", "none stated"}
    shares = {name: size for name, (_, size) in made_of["licences"].items()}
    weighed = [report.mixture[name] * size for name, size in shares.items()]
    assert weighed[0] == pytest.approx(weighed[1], rel=1e-3)  # alpha 0: both parts are seen alike
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "Near-duplicates" in page
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "to be filled in by the provider" in summary
    assert "documents without a licence are kept, by the policy" in summary


def test_a_copy_without_the_evaluation_item_stays_for_the_one_that_holds_it(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    exam.write_text('{"question": "' + EXAM + '"}\n', encoding="utf-8")
    long = " ".join(prose(number) for number in range(4))
    source = corpus(tmp_path / "source", [document("with.md", f"{long} {EXAM}"), document("without.md", long)])
    stages = ("exact", "near", "contamination")
    kept, _, dropped = cleaned(source, tmp_path, stages=stages, evaluation_sets={"exam": str(exam)})
    assert set(kept) == {"without.md"}
    assert dropped == {"with.md": "it holds the evaluation item exam#0"}


CLAUSE = "As partes elegem o foro da comarca de Lisboa para dirimir qualquer litígio emergente do presente contrato."
OTHER = "O prazo de pagamento é de trinta dias a contar da receção da fatura, sob pena de juros à taxa legal em vigor."


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """Documents that share paragraphs; a paragraph of few words; one document that is nothing but what others have."""
    return corpus(
        tmp_path / "source",
        [
            document("one.md", f"# Título\n\n{CLAUSE}\n\n{prose(0)}", modified="2020-01-01T00:00:00Z"),
            document("two.md", f"# Título\n\n{prose(1)}\n\n{CLAUSE}\n\n{OTHER}\n", modified="2024-01-01T00:00:00Z"),
            document("three.md", f"{OTHER}\n\n# Título\n\n  {prose(2)}", modified="2022-01-01T00:00:00Z"),
            document("board.md", f"{CLAUSE}\n\n{prose(3)}", roles=("board",)),
            document("torso.md", f"{OTHER}\n\n{CLAUSE.replace(' do ', chr(10) + 'do ')}\n\nFim.", licence="MIT"),
        ],
    )


ONLY = ("paragraphs",)


def test_a_paragraph_stays_in_one_document_for_each_circle_of_readers(contracts: Path, tmp_path: Path) -> None:
    kept, report, dropped = cleaned(contracts, tmp_path, stages=ONLY)
    assert {name: each.text for name, each in kept.items()} == {
        "one.md": f"# Título\n\n{prose(0)}",
        "two.md": f"# Título\n\n{prose(1)}\n\n{CLAUSE}\n\n{OTHER}\n",  # the longest keeps what it shares
        "three.md": f"# Título\n\n  {prose(2)}",
        "board.md": f"{CLAUSE}\n\n{prose(3)}",  # who reads it cannot read the other
    }
    share = len((CLAUSE + OTHER).encode()) / len(f"{CLAUSE}\n\n{OTHER}\n\nFim.".encode())
    assert dropped == {"torso.md": f"{share:.0%} of it stands in other documents, most in docs/two.md"}
    assert report.paragraphs == {
        "paragraphs": 2,
        "bytes": len((CLAUSE + OTHER).encode()),
        "documents": 2,
        "of": 11,
    }
    assert "2 of 11 paragraphs" in report.markdown()
    assert kept["one.md"].hash == hashlib.sha256(kept["one.md"].text.encode()).hexdigest()
    stage = {each.name: each for each in report.stages}["paragraphs"]
    assert (stage.documents_in, stage.documents_dropped) == (5, 1)


@pytest.mark.parametrize(
    ("changes", "keepers"),
    [
        ({"keep": "newest"}, {"two.md", "board.md"}),
        ({"keep": "licence"}, {"two.md", "board.md"}),
        ({"paragraph_words": 40}, {"one.md", "two.md", "board.md", "torso.md"}),
        ({"paragraph_left": 0.01, "keep": "newest"}, {"two.md", "board.md"}),
    ],
)
def test_who_keeps_a_paragraph_is_settled_by_settings(
    contracts: Path, tmp_path: Path, changes: dict[str, object], keepers: set[str]
) -> None:
    kept, _, _ = cleaned(contracts, tmp_path, stages=ONLY, **changes)
    assert {name for name, each in kept.items() if CLAUSE.split()[-1] in each.text} == keepers


def test_no_paragraph_is_lost_with_a_document_that_goes(tmp_path: Path) -> None:
    source = corpus(
        tmp_path / "source",
        [
            document("newest.md", f"{CLAUSE}\n\n{OTHER}\n\nFim.", modified="2025-01-01T00:00:00Z"),
            document("middle.md", f"{prose(0)}\n\n{CLAUSE}", modified="2026-01-01T00:00:00Z"),
            document("oldest.md", f"{prose(1)}\n\n{OTHER}", modified="2019-01-01T00:00:00Z"),
        ],
    )
    for left, torso in ((0.6, "newest.md"), (0.3, None)):
        kept, _, dropped = cleaned(source, tmp_path, stages=ONLY, keep="newest", paragraph_left=left)
        together = "".join(each.text for each in kept.values())
        assert set(dropped) == ({torso} if torso else set())
        for paragraph in (CLAUSE, OTHER, prose(0), prose(1)):
            assert together.count(paragraph) == 1


def test_of_equal_texts_the_newest_stays_where_that_is_asked_for(tmp_path: Path) -> None:
    years = ("2020", "2024", "2022")
    source = corpus(
        tmp_path / "source",
        [document(f"{year}.md", prose(0), modified=f"{year}-01-01T00:00:00Z") for year in years],
    )
    for keep, stays in (("longest", "2020.md"), ("newest", "2024.md")):
        kept, _, _ = cleaned(source, tmp_path, stages=("exact",), keep=keep)
        assert set(kept) == {stays}


def test_places_move_when_a_paragraph_goes(tmp_path: Path) -> None:
    text = f"{CLAUSE}\n\nTítulo\n\n{prose(1)}"
    start = text.index("Título")
    spans = (Span("table", 0, len(CLAUSE)), Span("heading", start, start + 6, "Título", 1))
    longer = document("longer.md", f"{CLAUSE}\n\n{prose(0)} {prose(2)}")
    source = corpus(tmp_path / "source", [document("a.md", text, spans=spans), longer])
    kept, _, _ = cleaned(source, tmp_path, stages=ONLY)
    there = kept["a.md"]
    assert [(span.kind, there.text[span.start : span.end]) for span in there.spans] == [("heading", "Título")]


def text_bytes(tmp_path: Path) -> int:
    return sum(len(each.text.encode()) for each in load_documents(tmp_path / "out"))


def test_a_full_disk_stops_it_and_it_goes_on_where_there_is_room(many: Path) -> None:
    disk = many / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        stopped = _run(many, "disk/out", "disk/work")
        assert stopped.returncode
        assert "No space left on device" in stopped.stderr
        treated = list((disk / "work").glob("*.parquet"))
        assert 0 < len(treated) < 4
        assert not (disk / "out" / FILE_NAME).exists()
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        times = {path.name: path.stat().st_mtime_ns for path in treated}
        assert _run(many, "disk/out", "disk/work").returncode == 0
        assert all((disk / "work" / name).stat().st_mtime_ns == at for name, at in times.items())
        assert _bytes(many, "disk/out") == _bytes(many, "whole")
    finally:
        subprocess.run(["umount", disk], check=True)
