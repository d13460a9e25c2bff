"""What the start of every program that reads a model must not cost."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from lavra.model.config import ModelConfig
from lavra.model.placing import empty_model

shape = dict(vocabulary_size=99, context_length=32, layers=1, width=16, heads=2, kv_heads=2, head_width=8,
    hidden_width=16, norm="layer", norm_epsilon=1e-5, activation="gelu", gated=False)
made = [
    empty_model(ModelConfig(**shape, causal=True, positions="rotary")),
    empty_model(ModelConfig(**shape, causal=False, positions="learned", token_types=2)),
    empty_model(ModelConfig(**shape, causal=False, positions="none", relative="buckets", relative_buckets=8,
        relative_distance=16)),
]
assert all(p.is_meta for model in made for p in model.parameters())
print("torch._dynamo" in sys.modules)
"""


def test_a_model_is_laid_out_without_torchs_compiler() -> None:
    """Its import takes a second or two, and nothing of it is used."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr[-2000:]
