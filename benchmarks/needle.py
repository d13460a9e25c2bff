"""A needle in a haystack: a sentence with a number, hidden in real pages, and the model has to say the number.

    python benchmarks/needle.py ../shared/data/corpus/corpus.parquet [--model smollm2-135m] [--adapter DIR]
        [--lengths 1024,2048,4096,8192] [--needles 20]

The haystack is help pages in English; the needle lies at 5 to 95 % of it; the text ends with the needle's own
beginning. Right is a needle whose every token of the number is the model's most probable next one (what greedy decoding
would write).
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pyarrow.parquet as parquet
import torch

from lavra.model.adapted import load_adapted
from lavra.model.heads import logits
from lavra.model.hub import resolve
from lavra.model.precision import compute_dtype
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

PLACES = ("Recife", "Manaus", "Curitiba", "Salvador", "Fortaleza", "Natal", "Goiânia", "Palmas", "Vitória", "Teresina")


def pages(corpus: Path, source: str = "libreoffice-help-en-us") -> list[str]:
    rows = parquet.read_table(corpus, columns=["source", "text"]).to_pylist()
    return [row["text"] for row in rows if row["source"] == source]


def hay(tokenizer: Tokenizer, texts: list[str], count: int, draw: random.Random) -> list[int]:
    """Tokens of whole pages in random order, cut to ``count``."""
    ids: list[int] = []
    while len(ids) < count:
        ids += tokenizer.encode(draw.choice(texts) + "\n\n", add_special_tokens=False)
    return ids[:count]


def needle(tokenizer: Tokenizer, texts: list[str], length: int, draw: random.Random) -> tuple[list[int], int]:
    """A text of ``length`` tokens that ends with the number, and how many tokens the number has."""
    place, code = draw.choice(PLACES), f"{draw.randrange(10_000, 100_000)}"
    asked = tokenizer.encode(f"\n\nThe access code of the archive in {place} is", add_special_tokens=False)
    told = tokenizer.encode(f" {code}", add_special_tokens=False)
    hidden = [*asked, *told, *tokenizer.encode(".\n\n", add_special_tokens=False)]
    straw = hay(tokenizer, texts, length - len(hidden) - len(asked) - len(told), draw)
    at = int(len(straw) * draw.uniform(0.05, 0.95))
    return [*straw[:at], *hidden, *straw[at:], *asked, *told], len(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--lengths", default="1024,2048,4096,8192")
    parser.add_argument("--needles", type=int, default=20)
    options = parser.parse_args()
    found = resolve(options.model)
    tokenizer, texts = load_tokenizer(found.path), pages(options.corpus)
    model = load_adapted(found.path, [options.adapter] if options.adapter else [], dtype=compute_dtype()).eval()
    print(f"{options.model}, context {model.config.context_length:,}, {options.adapter or 'no adapter'}")
    for length in map(int, options.lengths.split(",")):
        draw, right, likelihood = random.Random(length), 0, 0.0
        for _ in range(options.needles):
            ids, count = needle(tokenizer, texts, length, draw)
            with torch.inference_mode():
                states = model(torch.tensor([ids[:-1]]))[:, -count:]
                scores = logits(model, states)[0].float().log_softmax(-1)
            told = torch.tensor(ids[-count:])
            right += bool((scores.argmax(-1) == told).all())
            likelihood += float(scores.gather(1, told[:, None]).mean()) / options.needles
        print(
            f"  {length:6,} tokens: {right:3} of {options.needles} needles, log-likelihood of a digit {likelihood:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
