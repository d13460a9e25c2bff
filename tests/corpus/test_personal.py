"""Personal data: real numbers are found, invalid ones and look-alikes are not, and placeholders take their place."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("stdnum")
pytest.importorskip("phonenumbers")
import pyarrow as pa

from lavra.corpus.personal import KINDS, find, own_kind, redact
from lavra.corpus.personal.finding import find_at, suspects
from lavra.corpus.personal.kinds import chosen, placeholders
from lavra.errors import LavraError


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Escreva para joana.silva+rh@empresa.com.br.", [("email", "joana.silva+rh@empresa.com.br")]),
        ("CPF 529.982.247-25, ou CPF: 52998224725", [("cpf", "529.982.247-25"), ("cpf", "52998224725")]),
        (
            "CNPJ 11.222.333/0001-81 e 12.ABC.345/01DE-35",
            [("cnpj", "11.222.333/0001-81"), ("cnpj", "12.ABC.345/01DE-35")],
        ),
        ("PIS 120.56874.10-7", [("pis", "120.56874.10-7")]),
        ("RG nº 12.345.678-9, CEP 01310-100", [("rg", "12.345.678-9"), ("cep", "01310-100")]),
        ("NIF: 123456789", [("nif", "123456789")]),
        (
            "Cartão 4111 1111 1111 1111 ou 378282246310005",
            [("card", "4111 1111 1111 1111"), ("card", "378282246310005")],
        ),
        ("PT50 0002 0123 1234 5678 9015 4", [("iban", "PT50 0002 0123 1234 5678 9015 4")]),
        (
            "Tel. (11) 98765-4321 e +351 912 345 678",
            [("telephone", "(11) 98765-4321"), ("telephone", "+351 912 345 678")],
        ),
        ("from 8.8.8.8 and 2001:4860:4860::8888", [("ip", "8.8.8.8"), ("ip", "2001:4860:4860::8888")]),
    ],
)
def test_real_numbers_are_found(text: str, expected: list[tuple[str, str]]) -> None:
    if text.startswith("from 8"):
        text = text.replace("from", "from host")
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "CPF 529.982.247-26",  # a wrong check digit
        "CPF 111.111.111-11",  # right digits, nobody's
        "protocolo 52998224725",  # a number of eleven digits that nothing calls a CPF
        "CNPJ 11.222.333/0001-82",
        "4111 1111 1111 1112",
        "2021-05-12 10:20:30 and 20210512102030",
        "PT50 0002 0123 1234 5678 9015 5",
        "version 10.200.30.4 of the program",
        "5.6.31.2. Definition",
        "at 192.168.0.1, 127.0.0.1 or 10.0.0.1",
        "12345-678",  # a part number as well as a CEP, with nothing that says which
        "between 2001-2008 and 1990-1999",
        "user@localhost and @decorator",
        "123456789",
    ],
)
def test_look_alikes_are_left_alone(text: str) -> None:
    assert found(text) == []


def _digits(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(10) for _ in range(count)]


def _check(digits: list[int], weights: list[int]) -> int:
    rest = sum(a * b for a, b in zip(digits, weights, strict=True)) % 11
    return 0 if rest < 2 else 11 - rest


def _cpf(draw: random.Random) -> str:
    """The Receita Federal's rule, written out."""
    digits = _digits(draw, 9)
    digits.append(_check(digits, list(range(10, 1, -1))))
    digits.append(_check(digits, list(range(11, 1, -1))))
    return "{}{}{}.{}{}{}.{}{}{}-{}{}".format(*digits)


def _cnpj(draw: random.Random) -> str:
    digits = [*_digits(draw, 8), 0, 0, 0, draw.randrange(1, 10)]
    digits.append(_check(digits, [5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]))
    digits.append(_check(digits, [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]))
    return "{}{}.{}{}{}.{}{}{}/{}{}{}{}-{}{}".format(*digits)


def _spoilt(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def test_generated_brazilian_documents_give_every_valid_number_and_no_invalid_one() -> None:
    draw = random.Random(5)
    for _ in range(300):
        cpf, cnpj, wrong, other = _cpf(draw), _cnpj(draw), _spoilt(_cpf(draw)), _spoilt(_cnpj(draw))
        text = (
            f"Contrato nº {draw.randrange(10**6)}/2024. A empresa, inscrita no CNPJ sob o nº {cnpj}, e o titular do "
            f"CPF {cpf} acordam o valor de R$ {draw.randrange(10**6)},{draw.randrange(100):02}. Ref. {wrong} e {other}."
        )
        assert found(text) == [("cnpj", cnpj), ("cpf", cpf)]


def test_precision_and_recall_on_the_labelled_set(shared: Path) -> None:
    path = shared / "eval" / "pii" / "presidio_research" / "data" / "synth_dataset_v2.json"
    kinds = {"EMAIL_ADDRESS": "email", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip"}
    right = dict.fromkeys([*kinds.values(), "telephone"], 0)
    missed, wrong = dict(right), dict(right)
    kinds["PHONE_NUMBER"] = "telephone"
    for row in json.loads(path.read_text(encoding="utf-8")):
        labelled = [
            (s["start_position"], s["end_position"], kinds[s["entity_type"]])
            for s in row["spans"]
            if s["entity_type"] in kinds
        ]
        mine = find(row["full_text"])
        for start, end, kind in labelled:
            hit = any(f.kind == kind and f.start < end and f.end > start for f in mine)
            (right if hit else missed)[kind] += 1
        for f in mine:
            wrong[f.kind] = wrong.get(f.kind, 0) + all(
                f.end <= a or f.start >= b or f.kind != k for a, b, k in labelled
            )
    for kind in ("email", "card", "iban", "ip"):
        assert (missed[kind], wrong[kind]) == (0, 0), kind
    # Its telephones are made up, many valid in no country and announced by no word.
    assert right["telephone"] >= 60
    assert wrong["telephone"] <= 1


def test_placeholders_take_their_place_and_nothing_else_moves() -> None:
    text = "O CPF 529.982.247-25 é de joana@x.com.br."
    assert redact(text, find(text), placeholders(KINDS)) == "O CPF [CPF] é de [EMAIL]."


def test_no_stretch_is_two_things() -> None:
    text = "CPF 529.982.247-25 Tel (11) 98765-4321 conta 4111111111111111 a@b.co"
    ends = [(f.start, f.end) for f in find(text)]
    assert all(a[1] <= b[0] for a, b in pairwise(ends))


def test_looking_at_suspicious_lines_alone_finds_the_same(shared: Path) -> None:
    import pyarrow.parquet as parquet

    table = parquet.read_table(shared / "corpus" / "corpus.parquet", columns=["text"]).slice(20_000, 4_000)
    texts = [t[:5_000] for t in table["text"].to_pylist()]
    where = suspects(pa.array(texts, pa.large_string()))
    for row, text in enumerate(texts):
        assert find_at(text, where.get(row, [])) == find(text)


def test_own_kinds_are_patterns_with_a_name() -> None:
    badge = own_kind("badge", r"\bMAT-\d{6}\b")
    text = "Matrícula MAT-123456."
    assert redact(text, find(text, (*KINDS, badge)), placeholders((badge,))) == "Matrícula [BADGE]."
    with pytest.raises(LavraError, match="not a regular expression"):
        own_kind("badge", "(")
    with pytest.raises(LavraError, match="matches nothing at all"):
        own_kind("badge", "x*")
    with pytest.raises(LavraError, match="cannot name"):
        own_kind("Badge no", "x")
    with pytest.raises(LavraError, match="not a kind of personal data"):
        chosen(["email", "shoe_size"])
