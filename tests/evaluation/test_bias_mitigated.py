"""Bias in generations and in StereoSet's form; gender exchanged in data; self-debiasing at decoding."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_decoders import tiny_decoder  # noqa: E402

from lavra.errors import LavraError  # noqa: E402
from lavra.evaluation.bias.associations import load_associations, preferences  # noqa: E402
from lavra.evaluation.bias.augmenting import augment  # noqa: E402
from lavra.evaluation.bias.generations import (  # noqa: E402
    Prompt,
    bold_prompts,
    compare,
    counterfactual_prompts,
    holistic_prompts,
    read_prompts,
    refuses,
    sentiment,
    write_all,
)
from lavra.evaluation.bias.readers import read_minimal_pairs  # noqa: E402
from lavra.evaluation.bias.stereoset import read_stereoset, score_stereoset  # noqa: E402
from lavra.evaluation.bias.swapping import swapped  # noqa: E402
from lavra.evaluation.likelihood import continuations, log_likelihoods  # noqa: E402
from lavra.inference.engine import Engine  # noqa: E402
from lavra.inference.sampling import Sampling  # noqa: E402
from lavra.inference.self_debias import Debiasing, SelfDebias, debiased, debiased_log_likelihoods  # noqa: E402
from lavra.model.weights import load_model  # noqa: E402
from lavra.tokens.tokenizer import load_tokenizer  # noqa: E402

# ── gender exchanged ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("language", "one", "two"),
    [
        ("en", "He told her that his sister likes him.", "She told him that her brother likes her."),
        ("en", "The book is hers, said her mother.", "The book is his, said his father."),
        ("en", "She saw her. Her dog saw HER too!", "He saw him. His dog saw HIM too!"),
        ("en", "The actress thanked her husband's friends.", "The actor thanked his wife's friends."),
        ("pt", "Ele foi nomeado diretor.", "Ela foi nomeada diretora."),
        ("pt", "O narrador é o próprio barão.", "A narradora é a própria baronesa."),
        ("pt", "Os dois meninos cansados dormiram.", "As duas meninas cansadas dormiram."),
        ("pt", "Uma jornalista conhecida falou com o professor.", "Um jornalista conhecido falou com a professora."),
        ("pt", "Ele tinha criado uma escola.", "Ela tinha criado uma escola."),
        ("pt", "Nascido em Braga, ele viveu em Lisboa.", "Nascida em Braga, ela viveu em Lisboa."),
        ("pt", "Quando ela caiu, um médico a levou para casa.", "Quando ele caiu, uma médica o levou para casa."),
    ],
)  # fmt: skip
def test_gender_is_exchanged_with_what_agrees(language: str, one: str, two: str) -> None:
    assert swapped(one, language) == two


@pytest.mark.parametrize(
    ("language", "one", "two"), [("en", "His aunt met the king.", "Her uncle met the queen."),
                                 ("pt", "A rainha foi coroada.", "O rei foi coroado.")]
)  # fmt: skip
def test_twice_exchanged_is_as_it_was(language: str, one: str, two: str) -> None:
    assert swapped(one, language) == two
    assert swapped(two, language) == one


def test_what_has_no_gender_stays(shared: Path) -> None:
    assert swapped("The table is red.", "en") is None
    assert swapped("A mesa é vermelha e o carro é preto.", "pt") is None
    assert swapped("Os pais e Deus.", "pt") is None
    with pytest.raises(LavraError, match="rules for en and pt"):
        swapped("Der Mann.", "de")


def test_portuguese_is_rewritten_as_people_did_in_two_of_five_sentences(shared: Path) -> None:
    """MT-GenEval's test pairs, which the rules were not written on; the guide says .420."""
    path = shared / "eval" / "pt" / "mtgeneval" / "sentences" / "test" / "geneval-sentences-masculine-test.en_pt.pt"
    pairs = [row["choices"] for row in read_minimal_pairs(path)]
    both = [*pairs, *([two, one] for one, two in pairs)]
    assert np.mean([swapped(one, "pt") == two for one, two in both]) == pytest.approx(0.42, abs=0.015)


def test_training_data_have_both_forms_of_each_row(tmp_path: Path) -> None:
    rows = [
        {
            "id": "1",
            "messages": [{"role": "user", "content": "Who is he?"}, {"role": "assistant", "content": "A king."}],
        },
        {"question": "What is it?", "answer": "A table.", "document": "he.md"},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = augment(path, "en")
    lines = [json.loads(line) for line in made.text.splitlines()]
    assert (made.rows, made.added, len(lines)) == (3, 1, 3)
    assert [turn["content"] for turn in lines[1]["messages"]] == ["Who is she?", "A queen."]
    assert lines[1]["id"] == "1-swapped"
    assert [line.get("document") for line in lines] == [None, None, "he.md"]
    table = tmp_path / "data.csv"
    table.write_text('text,label\n"He, the king",bad\nIt rains,good\n')
    assert augment(table, "en").text == 'text,label\n"He, the king",bad\n"She, the queen",bad\nIt rains,good\n'
    with pytest.raises(LavraError, match=r"data\.pdf cannot be augmented"):
        augment(tmp_path / "data.pdf")
    path.write_text("{")
    with pytest.raises(LavraError, match="line 1 is not JSON"):
        augment(path)


# ── StereoSet ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stereoset(path: Path) -> Path:
    def item(target: str, kind: str, number: int, context: str) -> dict[str, Any]:
        labels = ("unrelated", "stereotype", "anti-stereotype")
        sentences = [
            {"sentence": f"the {label} {number}", "id": f"{number}{label}", "gold_label": label} for label in labels
        ]
        return {"id": str(number), "target": target, "bias_type": kind, "context": context, "sentences": sentences}

    data = {
        "intrasentence": [item("nurse", "profession", 1, "the BLANK"), item("nurse", "profession", 2, "the BLANK")],
        "intersentence": [item("grandfather", "gender", 3, "the old man sat.")],
    }
    path.write_text(json.dumps({"version": "1.0", "data": data}))
    return path


def test_a_file_in_stereosets_form_is_read(tmp_path: Path) -> None:
    items = read_stereoset(_stereoset(tmp_path / "dev.json"))
    assert [item.target for item in items] == ["nurse", "nurse", "grandfather"]
    assert items[0].sentences == ("the stereotype 1", "the anti-stereotype 1", "the unrelated 1")
    assert [item.context for item in items] == ["", "", "the old man sat."]
    (tmp_path / "bad.json").write_text('{"data": {"intrasentence": [{}]}}')
    with pytest.raises(LavraError, match="not in StereoSet's form"):
        read_stereoset(tmp_path / "bad.json")


def test_stereosets_scores_are_the_papers() -> None:
    """By hand: nurse prefers the stereotype in 2 of 3 and knows 5 of 6 sentences; king prefers it in 0 of 1, knows 1
    of 2. ss = (66.7 + 0) / 2, lms = (83.3 + 50) / 2, icat = lms · min(ss, 100 − ss) / 50."""
    likelihoods = np.array([[-1, -2, -3], [-1, -2, -1.5], [-2, -1, -3], [-3, -1, -2]], dtype=float)
    found = score_stereoset(["nurse", "nurse", "nurse", "king"], likelihoods)
    assert found.ss.mean == pytest.approx(100 / 3)
    assert found.lms.mean == pytest.approx(200 / 3)
    assert found.icat.mean == pytest.approx(200 / 3 * (100 / 3) / 50)
    always = score_stereoset(["a", "b"], np.array([[-1, -2, -3]] * 2, dtype=float))
    assert (always.ss.mean, always.lms.mean, always.icat.mean) == (100, 100, 0)
    ideal = score_stereoset(["a", "a"], np.array([[-1, -2, -3], [-2, -1, -3]], dtype=float))
    assert ideal.icat.mean == 100


# ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prompts_are_pairs_that_differ_in_the_group_alone(shared: Path, tmp_path: Path) -> None:
    own = counterfactual_prompts()
    assert len(own) == 320
    pairs: dict[tuple[str, str], list[Prompt]] = {}
    for prompt in own:
        pairs.setdefault((prompt.language, prompt.pair), []).append(prompt)
    assert {len(pair) for pair in pairs.values()} == {2}
    for one, two in pairs.values():
        assert one.text.lower().replace(one.group.lower(), two.group.lower()) == two.text.lower()
    bold = bold_prompts(shared / "eval" / "bias" / "bold", 3)
    assert {prompt.group for prompt in bold} >= {"American actors", "American actresses"}
    holistic = holistic_prompts(shared / "eval" / "bias" / "holistic" / "v1.1", 4)
    assert len(holistic) == 2 * 4 * len({prompt.kind for prompt in holistic})
    mine = tmp_path / "p.jsonl"
    mine.write_text('{"kind": "x", "prompts": {"a": "One", "b": "Two"}}\n')
    assert [prompt.group for prompt in read_prompts(mine)] == ["a", "b"]
    mine.write_text('{"prompts": {"a": "One"}}\n')
    with pytest.raises(LavraError, match=r"p\.jsonl:1 is no pair"):
        read_prompts(mine)


def test_a_planted_difference_between_groups_is_found_and_no_other() -> None:
    prompts = counterfactual_prompts(("en",))

    def write(texts: Any) -> list[str]:
        return ["is cruel and lazy." if "Muslim" in text else "is kind and honest." for text in texts]

    found = {(one.kind, one.measure): one for one in compare(write_all(prompts, write))}
    religion = found["religion", "sentiment"]
    assert religion.difference is not None
    assert religion.difference.mean == -2
    assert [key for key, one in found.items() if one.differs] == [("religion", "sentiment")]
    assert religion.groups["the Muslim man"].mean == -1


def test_sentiment_refusals_and_a_classifiers_labels() -> None:
    assert sentiment("a brave and honest crime", "en") == pytest.approx(1 / 3)
    assert sentiment("uma pessoa honesta", "pt") == 1
    assert sentiment("xyz", "en") == 0
    assert refuses(" I'm sorry, but no")
    assert refuses("Não posso ajudar")
    assert not refuses("is sorry")

    def classify(texts: Any) -> dict[str, np.ndarray]:
        return {"good": np.linspace(0, 1, len(texts))}

    written = write_all(counterfactual_prompts(("pt",))[:4], lambda texts: ["x"] * len(texts), classify)
    assert written[3].values == {"words": 1.0, "refused": 0.0, "p(good)": 1.0}


def test_associations_balance_groups_and_attributes() -> None:
    items = load_associations()
    assert [sum(item.language == language for item in items) for language in ("en", "pt")] == [24, 24]
    for item in items:
        one, two, three, four = item.sentences
        assert len({one, two, three, four}) == 4
        assert item.groups[0] in one
        assert item.groups[0] in three
        assert item.attributes[0] in one
        assert item.attributes[1] in three
    assert preferences(np.array([1.0, -2.0, 0.0])).tolist() == [1.0, 0.0, 0.5]


# ── self-debiasing ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    path = tiny_decoder("rotary", tmp_path_factory.mktemp("tiny") / "model")
    return load_model(path, dtype=torch.float32).eval(), load_tokenizer(path)


def test_debiased_probabilities_are_the_papers_formula() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    found = debiased(p.log()[None], q.log()[:, None], 10.0)[0].exp()
    scaled = torch.tensor([0.5 * math.exp(10 * (0.5 - 0.6)), 0.3 * math.exp(10 * (0.3 - 0.7)), 0.2])
    assert torch.allclose(found, scaled / scaled.sum(), atol=1e-6)
    assert torch.allclose(debiased(p.log()[None], q.log()[:, None], 0.0)[0].exp(), p)


def test_the_engine_writes_what_the_formula_says_token_by_token(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    how = Debiasing(("the cat", "a dog"), decay=30.0)
    ids = tokenizer.encode("the bird sang", add_special_tokens=False)
    engine = Engine(model, tokenizer).processed(lambda m, t, prompt: SelfDebias(m, t, prompt, how))
    written = [step.token_id for step in engine.stream(ids, Sampling(max_tokens=6))]
    from lavra.model.heads import logits

    expected = list(ids)
    for _ in written:
        with torch.no_grad():
            own = logits(model, model(torch.tensor([expected]))[0, -1])
            behind = []
            for text in how.texts:
                prefix = tokenizer.encode(text, add_special_tokens=False, parse_special=False)
                behind.append(logits(model, model(torch.tensor([[*prefix, *expected]]))[0, -1]))
        expected.append(int(debiased(own[None], torch.stack(behind)[:, None], how.decay).argmax()))
    assert written == expected[len(ids) :]


def test_without_decay_nothing_changes(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    texts = ["the cat sat on the mat", "a dog ran"]
    found = debiased_log_likelihoods(model, tokenizer, texts, Debiasing(decay=0.0))
    assert found == pytest.approx(log_likelihoods(model, tokenizer, texts).tolist(), rel=1e-4)
    pulled = debiased_log_likelihoods(model, tokenizer, texts, Debiasing(decay=100.0))
    assert pulled != pytest.approx(found, rel=1e-4)
    with pytest.raises(LavraError, match="decay of self-debiasing"):
        Debiasing(decay=-1)
    with pytest.raises(LavraError, match="speaks en, pt"):
        Debiasing(language="de")


def test_the_harness_scores_as_texts_are_scored(tiny: tuple[Any, Any]) -> None:
    pytest.importorskip("lm_eval")
    from lavra.evaluation.harness.model import HarnessModel

    how = Debiasing(("the cat",), decay=50.0)
    asked = HarnessModel(*tiny, debiasing=how)
    begun = (tiny[1].bos_id,)
    ids = [tuple(tiny[1].encode(text, add_special_tokens=False)) for text in ("the cat sat", "a dog ran")]
    found = [log_p for log_p, _ in asked._score([(begun, each) for each in ids], "Scoring")]
    assert found == pytest.approx(debiased_log_likelihoods(*tiny, ["the cat sat", "a dog ran"], how), rel=1e-4)


def test_a_continuations_likelihood_is_what_it_adds(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    whole, bare = log_likelihoods(model, tokenizer, ["the cat sat on the mat", "the cat"])
    added, tokens = continuations(model, tokenizer, [("the cat", " sat on the mat")])
    assert added[0] == pytest.approx(whole - bare, rel=1e-4)
    assert tokens[0] == len(tokenizer.encode("the cat sat on the mat", add_special_tokens=False)) - len(
        tokenizer.encode("the cat", add_special_tokens=False)
    )
