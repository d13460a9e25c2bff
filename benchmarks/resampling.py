"""Does asking again find wrong answers? `lavra.evaluation.resampling` on the default model.

Questions of XQuAD (English) are answered greedily by SmolLM2-135M-Instruct with the right passage in its prompt, and
six times more at temperature 1. An answer is wrong where fewer than half of the right answer's words are in it. The AUC
is the probability that a wrong answer looks more doubtful than a right one (0.5: chance), with 95% bootstrap intervals.

    python benchmarks/resampling.py [--data ../shared/data] [--questions 200] [--samples 6]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from lavra.evaluation import resampling
from lavra.evaluation.answers import token_recall
from lavra.evaluation.items import Question, read_questions
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.embedder import Embedder
from lavra.inference.sampling import Sampling
from lavra.model.base import Model
from lavra.model.hub import resolve
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.model.weights import load_model
from lavra.prompting import Source, load_template
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

Doubt = Callable[[Question, str, Sequence[str]], float]


def answers(
    model: Model, tokenizer: Tokenizer, questions: Sequence[Question], sampling: Sampling, copies: int
) -> list[list[str]]:
    """``copies`` answers to each question, its passage in the prompt."""
    template = load_template()
    prompts = []
    for question in questions:
        sources = [Source(1, question.sources[0].document, question.sources[0].text)]
        prompts.append(tokenizer.encode_chat(template.turns(question.text, sources, language="en", history=[])))
    ends = tokenizer.eos_ids
    found = sample_batch(model, prompts, sampling, copies=copies, ends=ends, at_once=24)
    return [
        [tokenizer.decode([token for token in ids if token not in ends]).strip() for ids in group] for group in found
    ]


def auc(doubts: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half; without a value is in the middle."""
    doubts = np.where(np.isnan(doubts), np.nanmedian(doubts), doubts)
    bad = int(wrong.sum())
    good = len(wrong) - bad
    return float((rankdata(doubts)[wrong].sum() - bad * (bad + 1) / 2) / (bad * good)) if bad and good else np.nan


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--samples", type=int, default=6)
    options = parser.parse_args()
    everything = read_questions(options.data / "retrieval" / "xquad-en")
    questions = [everything[n] for n in np.linspace(0, len(everything) - 1, options.questions).astype(int)]
    path = resolve("smollm2-135m", pull=True).path
    model, tokenizer = pack(load_model(path, dtype=compute_dtype())), load_tokenizer(path)
    embedder = Embedder.load(resolve("e5-small-enpt", pull=True))
    replies = [group[0] for group in answers(model, tokenizer, questions, Sampling(temperature=0, max_tokens=40), 1)]
    drawn = answers(model, tokenizer, questions, Sampling(temperature=1.0, max_tokens=40, seed=0), options.samples)
    wrong = np.array(
        [
            max(token_recall(reply, right, "en") for right in question.answers) < 0.5
            for question, reply in zip(questions, replies, strict=True)
        ]
    )
    print(f"{len(questions)} questions, {wrong.mean():.1%} of the answers wrong\n")
    print("| doubt | AUC | mean of right ones | mean of wrong ones |\n| --- | --- | --- | --- |")
    doubts: dict[str, Doubt] = {
        "semantic entropy": lambda question, reply, samples: resampling.semantic_entropy(
            samples, resampling.same_meaning(question.text, "en")
        ),
        "1 − consistency": lambda question, reply, samples: 1 - resampling.consistency(reply, samples, "en"),
        "surprise, mean": lambda question, reply, samples: _mean(
            [one.mean for one in resampling.surprise(reply, samples)]
        ),
        "surprise, most": lambda question, reply, samples: _mean(
            [one.most for one in resampling.surprise(reply, samples)]
        ),
        "1 − similarity": lambda question, reply, samples: 1 - resampling.similarity(reply, samples, embedder),
        "longer is doubtful": lambda question, reply, samples: len(reply),
    }
    random = np.random.default_rng(0)
    for name, doubt in doubts.items():
        values = np.array([doubt(*row) for row in zip(questions, replies, drawn, strict=True)])
        rows = [random.integers(0, len(values), len(values)) for _ in range(1000)]
        low, high = np.nanquantile([auc(values[kept], wrong[kept]) for kept in rows], (0.025, 0.975))
        right_mean, wrong_mean = np.nanmean(values[~wrong]), np.nanmean(values[wrong])
        print(f"| {name} | {auc(values, wrong):.3f} [{low:.3f}, {high:.3f}] | {right_mean:.3g} | {wrong_mean:.3g} |")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else np.nan


if __name__ == "__main__":
    main()
