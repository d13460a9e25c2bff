"""Classification and reranking: losses equal PyTorch's, heads can be written and read by others, figures equal
scikit-learn's, and a temperature repairs confidence without changing a decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.inference.classifier import Classifier, Reranker
from lavra.inference.embedder import Embedder, Recipe
from lavra.inference.embedder_writing import save_embedder
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.families.encoders import encoder_config
from lavra.model.new_head import with_head
from lavra.model.writing import save_model
from lavra.objectives.classification import (
    Classification,
    LabelledText,
    TokenClassification,
    balanced_weights,
    first_tokens,
    scores,
)
from lavra.objectives.objective import IGNORE
from lavra.objectives.reranking import Judged, Reranking
from lavra.retrieval.passage import Passage
from lavra.retrieval.reranking import Reranking as Order
from lavra.retrieval.reranking import rerank
from lavra.tokens.tokenizer import load_tokenizer
from lavra.training.classes import calibration_error, fit_temperature, judge, judge_many, reliability

LABELS = ("boa", "neutra", "ruim")


def small(vocabulary: int = 101, **changes: object) -> Model:
    shape = {
        "vocabulary_size": vocabulary, "context_length": 64, "layers": 3, "width": 48, "heads": 4, "hidden_width": 96,
        "norm_epsilon": 1e-6, "activation": "gelu", "token_types": 2, **changes,
    }  # fmt: skip
    model = build(encoder_config(**shape))
    initialise(model, 0)
    return model.eval()


def decoder() -> Model:
    config = ModelConfig(
        vocabulary_size=101, context_length=64, layers=3, width=32, heads=4, kv_heads=2, head_width=8, hidden_width=48,
        causal=True, norm="rms", norm_epsilon=1e-5, norm_bias=False, positions="rotary", activation="silu", gated=True,
    )  # fmt: skip
    model = build(config)
    initialise(model, 0)
    return model.eval()


def texts(count: int = 7, seed: int = 0, many: bool = False) -> list[LabelledText]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        ids = tuple(random.integers(3, 101, random.integers(3, 30)).tolist())
        labels = tuple(k for k in range(3) if random.random() < 0.5) if many else (number % 3,)
        found.append(LabelledText(ids, labels))
    return found


@pytest.mark.parametrize("make", [small, decoder], ids=["encoder", "decoder"])
@pytest.mark.parametrize(("smoothing", "weights"), [(0.0, ()), (0.1, ()), (0.0, (0.5, 1.0, 3.0)), (0.2, (0.5, 1, 3))])
def test_cross_entropy_is_pytorchs_and_adds_up_over_micro_batches(make, smoothing: float, weights: tuple[float, ...]):
    model = with_head(make(), "sequence", LABELS).eval()
    objective = Classification(3, label_smoothing=smoothing, weights=weights)
    examples = texts()
    batch = objective.collate(examples)
    total, count = objective.loss(model, batch)
    weight = torch.tensor(weights) if weights else None
    wanted = F.cross_entropy(scores(model, batch), batch.extra["labels"], weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(total / count, wanted, rtol=1e-5, atol=1e-6)
    pieces = [objective.loss(model, objective.collate(part)) for part in (examples[:2], examples[2:3], examples[3:])]
    torch.testing.assert_close(sum(p[0] for p in pieces) / sum(p[1] for p in pieces), wanted, rtol=1e-5, atol=1e-6)


def test_many_labels_are_binary_cross_entropy_of_each():
    model = with_head(small(), "sequence", LABELS).eval()
    objective = Classification(3, many=True, weights=(1.0, 2.0, 4.0))
    examples = texts(many=True)
    batch = objective.collate(examples)
    assert [tuple(np.flatnonzero(row)) for row in batch.extra["labels"].numpy()] == [e.labels for e in examples]
    total, count = objective.loss(model, batch)
    wanted = F.binary_cross_entropy_with_logits(
        scores(model, batch), batch.extra["labels"], pos_weight=torch.tensor([1.0, 2.0, 4.0])
    )
    torch.testing.assert_close(total / count, wanted, rtol=1e-5, atol=1e-6)


def test_a_words_first_token_carries_its_label_and_only_that_is_learned():
    words = [None, 0, 0, 1, 2, 2, None]
    labels = first_tokens(words, [2, 0, 1])
    assert labels == (IGNORE, 2, IGNORE, 0, 1, IGNORE, IGNORE)
    model = with_head(small(), "token", LABELS).eval()
    objective = TokenClassification(3)
    examples = [LabelledText((1, 5, 6, 7, 8, 9, 2), labels), LabelledText((1, 5, 2), (IGNORE, 1, IGNORE))]
    batch = objective.collate(examples)
    total, count = objective.loss(model, batch)
    assert int(count) == 4
    logits = torch.cat([scores(model, objective.collate([example]))[0] for example in examples])
    targets = torch.tensor([label for example in examples for label in example.labels])
    torch.testing.assert_close(
        total / count, F.cross_entropy(logits, targets, ignore_index=IGNORE), rtol=1e-5, atol=1e-5
    )


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    truth = np.array([0] * 50 + [1] * 10 + [2] * 3)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=truth)
    np.testing.assert_allclose(balanced_weights([50, 10, 3]), wanted)


def judged(count: int = 5) -> list[Judged]:
    random = np.random.default_rng(0)

    def ids() -> tuple[int, ...]:
        return tuple(random.integers(3, 101, random.integers(4, 30)).tolist())

    return [Judged((ids(), ids(), ids()), tuple(random.random(3).round(2).tolist())) for _ in range(count)]


def test_rerankings_losses_are_their_formulas():
    model, examples = with_head(small(), "sequence", ("relevance",)).eval(), judged()
    given = torch.stack(
        [
            torch.stack([scores(model, Classification(1).collate([LabelledText(t, (0,))]))[0, 0] for t in e.texts])
            for e in examples
        ]
    )
    targets = torch.tensor([e.targets for e in examples])
    wanted = {
        "binary": F.binary_cross_entropy_with_logits(given, targets),
        "mse": F.mse_loss(given, targets),
        "margin": F.mse_loss(given[:, :1] - given[:, 1:], targets[:, :1] - targets[:, 1:]),
    }
    for how, value in wanted.items():
        total, count = Reranking(how).loss(model, Reranking(how).collate(examples))
        torch.testing.assert_close(total / count, value, rtol=1e-4, atol=1e-6)
    with pytest.raises(LavraError, match="at least two passages"):
        Reranking("margin").collate([Judged(((1, 2),), (1.0,))])


@pytest.mark.parametrize("source", ["e5-small-enpt", "minilm-l6"])
def test_a_reranker_is_one_for_sentence_transformers_too(pulled, tmp_path: Path, source: str):
    cross = pytest.importorskip("sentence_transformers").CrossEncoder
    tokenizer = load_tokenizer(pulled(source))
    model = with_head(small(tokenizer.vocabulary_size, context_length=512), "sequence", ("relevance",))
    for parameter in model.parameters():  # so that a passage makes a difference
        if parameter.dim() == 2:
            parameter.data.mul_(6)
    save_model(model, tmp_path / "made", tokenizer=tokenizer)
    question, passages = "Qual é o prazo?", ["Trinta dias.", "A diária é paga em cinco dias úteis. " * 40, "Não."]
    ours = Reranker.load(str(tmp_path / "made"), dtype=torch.float32).scores(question, passages)
    theirs = cross(str(tmp_path / "made"), device="cpu", max_length=512).predict([(question, p) for p in passages])
    assert np.ptp(ours) > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_passages_are_put_in_the_judges_order():
    class Longest:
        def scores(self, question: str, passages: list[str]) -> np.ndarray:
            return np.array([len(passage) / 10 for passage in passages], dtype=np.float32)

    found = [Passage(str(n), "d", "s", "t", text, 0, 1, score=0.5) for n, text in enumerate(("ab", "abcd", "abc"))]
    assert [p.text for p in rerank(Longest(), "q", found, k=2)] == ["abcd", "abc"]
    assert rerank(Longest(), "q", found)[0].features["fusion"] == 0.5
    assert rerank(Longest(), "q", []) == ()


def test_the_judge_and_the_search_are_mixed_by_their_log_odds():
    class Backwards:
        def scores(self, question: str, passages: list[str]) -> np.ndarray:
            return np.linspace(0.2, 0.8, len(passages))

    found = [Passage(str(n), "d", "s", "t", "x", 0, 1, score=p) for n, p in enumerate((0.95, 0.6, 0.55))]
    mixed = rerank(Backwards(), "q", found, share=0.25)
    assert [p.chunk_id for p in mixed] == ["0", "2", "1"]
    for passage, before, judged in zip(mixed, (0.95, 0.55, 0.6), (0.2, 0.8, 0.5), strict=True):
        odds = (before / (1 - before)) ** 0.75 * (judged / (1 - judged)) ** 0.25
        assert passage.score == pytest.approx(odds / (1 + odds))
        assert passage.features == {"fusion": before, "judge": judged}
    deep = Order(Backwards, depth=2, share=1.0)("q", [*found, Passage("3", "d", "s", "t", "x", 0, 1, score=0.1)], k=3)
    assert [p.chunk_id for p in deep] == ["1", "0", "2"], "what lies deeper than it reads stays behind"


def test_an_embedder_is_written_for_sentence_transformers_with_its_prompts(pulled, tmp_path: Path):
    sentence = pytest.importorskip("sentence_transformers").SentenceTransformer
    tokenizer = load_tokenizer(pulled("e5-small-enpt"))
    model = small(tokenizer.vocabulary_size, context_length=128)
    recipe = Recipe(96, "mean", {"query": "query: ", "document": "passage: "})
    save_embedder(model, tokenizer, recipe, tmp_path / "made")
    theirs = sentence(str(tmp_path / "made"), device="cpu")
    ours = Embedder.load(str(tmp_path / "made"), dtype=torch.float32)
    given = ["Qual é o prazo?", "Trinta dias a contar do pedido. " * 30]
    np.testing.assert_allclose(ours.queries(given), theirs.encode(given, prompt_name="query"), atol=1e-5)
    np.testing.assert_allclose(ours.documents(given), theirs.encode(given, prompt_name="document"), atol=1e-5)
    assert theirs.max_seq_length == ours.window == 96
    again = Embedder(model, tokenizer, recipe)
    np.testing.assert_allclose(ours.queries(given), again.queries(given), atol=1e-6)


def test_a_classifier_reads_back_and_gives_probabilities(pulled, tmp_path: Path):
    tokenizer = load_tokenizer(pulled("e5-small-enpt"))
    model = with_head(small(tokenizer.vocabulary_size), "sequence", LABELS)
    save_model(model, tmp_path / "made", tokenizer=tokenizer)
    classifier = Classifier.load(str(tmp_path / "made"), dtype=torch.float32)
    found = classifier.probabilities(["um texto", "outro texto, mais longo que o primeiro"])
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert classifier(["um texto"])[0][0] == LABELS[found[0].argmax()]
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "made").eval()
    ids = torch.tensor([tokenizer.encode("um texto")])
    with torch.no_grad():
        wanted = theirs(ids).logits.softmax(-1)[0].numpy()
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    with pytest.raises(LavraError, match="no score of relevance"):
        Reranker.load(str(tmp_path / "made"))


def test_figures_are_scikit_learns():
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score

    random = np.random.default_rng(0)
    given, truth = random.dirichlet([1, 1, 1], 300), random.integers(0, 3, 300)
    report = judge(given, truth, LABELS)
    guess = given.argmax(1)
    assert report.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert report.macro_f1 == pytest.approx(f1_score(truth, guess, average="macro"))
    assert report.precision == pytest.approx(precision_score(truth, guess, average=None))
    assert np.array_equal(report.confusion, confusion_matrix(truth, guess))
    several = random.random((300, 3)), (random.random((300, 3)) < 0.3).astype(float)
    many = judge_many(*several, LABELS)
    assert many.f1 == pytest.approx(f1_score(several[1], several[0] >= 0.5, average=None))


def test_a_temperature_repairs_confidence_and_changes_no_decision():
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3)) * 1.5
    truth = np.array([random.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    sure = 3.0 * logits  # as an overtrained network is
    temperature = fit_temperature(sure, truth)
    assert temperature == pytest.approx(3.0, rel=0.1)

    def error(z: np.ndarray) -> float:
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return calibration_error(p.max(1), p.argmax(1) == truth)

    assert error(sure) > 0.15
    assert error(sure / temperature) < 0.03
    both = (random.random((4000, 2)) < 1 / (1 + np.exp(-logits[:, :2]))).astype(float)
    assert fit_temperature(2.0 * logits[:, :2], both, many=True) == pytest.approx(2.0, rel=0.1)


def test_a_bin_has_its_own_confidence_and_share():
    confidence = np.array([0.95, 0.99, 0.55, 0.52])
    found = reliability(confidence, np.array([True, False, True, True]), bins=10)
    assert [(round(c, 3), h, n) for c, h, n in found] == [(0.535, 1.0, 2), (0.97, 0.5, 2)]
    wanted = (abs(1 - 0.535) * 2 + abs(0.5 - 0.97) * 2) / 4
    assert calibration_error(confidence, np.array([True, False, True, True]), 10) == pytest.approx(wanted)
