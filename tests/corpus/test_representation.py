"""What a corpus is made of: dialects, topics, sources, people, and weights that change the mixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavra.corpus.document import Document
from lavra.corpus.representation.counting import count, dialect_of, source_of, terms
from lavra.corpus.representation.weighing import mixture
from lavra.errors import LavraError


@pytest.mark.parametrize(
    ("words", "dialect"),
    [
        ({"usuário": 2, "arquivo": 1}, "pt-BR"),
        ({"utilizador": 1, "ficheiro": 3}, "pt-PT"),
        ({"usuário": 1}, None),  # one word is no evidence
        ({"usuário": 2, "ficheiro": 2}, None),
        ({"casa": 9}, None),
    ],
)
def test_a_dialect_is_told_by_words_that_only_one_of_them_writes(words: dict[str, int], dialect: str | None) -> None:
    assert dialect_of(words, "pt") == dialect
    assert dialect_of(words, "en") is None


def test_dialects_of_real_manuals_are_hardly_ever_mistaken(shared: Path) -> None:
    import pyarrow.parquet as parquet

    rows = parquet.read_table(shared / "corpus" / "corpus.parquet", columns=["source", "text"]).to_pylist()
    told = {"pt-BR": [0, 0], "pt-PT": [0, 0]}
    for row in rows:
        truth = {"gimp-help-pt-br": "pt-BR", "gimp-help-pt": "pt-PT"}.get(row["source"])
        if truth:
            found, _, _ = count([Document(source="a/b", text=row["text"], language="pt")])
            (name,) = found.dialects
            if name in told:
                told[truth][name == truth] += 1
    wrong, right = (told["pt-BR"][i] + told["pt-PT"][i] for i in (0, 1))
    assert right >= 400
    assert wrong <= 0.01 * right


def test_no_word_speaks_for_both_dialects() -> None:
    dialects = terms()["dialects"]["pt"]
    assert not set(dialects["pt-BR"]) & set(dialects["pt-PT"])


def test_people_are_counted_by_group_in_the_document_s_language() -> None:
    found, _, _ = count(
        [
            Document(source="a/1", text="She met her brother and his wife.", language="en"),
            Document(source="a/2", text="Ela e a irmã viram o homem.", language="pt"),
        ]
    )
    assert found.people["gender"] == {"women": 5, "men": 3}
    assert found.shares("gender")["women"] == pytest.approx(5 / 8)


def test_sources_are_sites_or_folders() -> None:
    web = Document(source="crawl/x.warc#3", text="", metadata={"url": "https://www.example.org/a"})
    assert source_of(web) == "example.org"
    assert source_of(Document(source="docs/legal/a.pdf", text="")) == "docs/legal"
    assert source_of(Document(source="docs/a.pdf", text="")) == "docs"


def test_topics_are_named_by_the_terms_that_tell_them_apart() -> None:
    pytest.importorskip("sklearn")
    from lavra.corpus.representation.topics import topics

    draw = np.random.default_rng(0)
    kitchens = ["forno panela receita farinha açúcar manteiga", "motor pneu travão volante carro oficina"]
    texts = [" ".join(draw.permutation(kitchens[i % 2].split() * 3)) for i in range(60)]
    found = topics(texts, [(1, len(text)) for text in texts])
    assert len(found) >= 2
    assert sum(documents for documents, _ in found.values()) == 60
    for name in found:
        words = set(name.split(", "))
        assert words <= set(kitchens[0].split()) or words <= set(kitchens[1].split())
    assert topics(texts[:5], [(1, 1)] * 5) == {}


def test_weights_follow_the_power_of_the_share() -> None:
    sizes = {"en": 900.0, "pt": 100.0}
    assert mixture(sizes, alpha=1.0) == {"en": 1.0, "pt": 1.0}
    equal = mixture(sizes, alpha=0.0)
    assert equal["en"] * 900 == pytest.approx(equal["pt"] * 100, rel=1e-3)
    half = mixture(sizes, alpha=0.5)
    assert (half["pt"] * 100) / (half["en"] * 900) == pytest.approx((100 / 900) ** 0.5, rel=1e-3)
    assert half["pt"] * 100 + half["en"] * 900 == pytest.approx(1_000, rel=1e-3)
    assert mixture({"en": 1e9, "gl": 1.0}, alpha=0.0)["gl"] == 10.0  # not the same page ten thousand times
    assert mixture({}) == {}
    with pytest.raises(LavraError, match="alpha is between 0"):
        mixture(sizes, alpha=2.0)
