"""How a model read by Lavra is held to transformers' of the same weights: a function a comparison, for all families.

Each computes with both, asserts that they agree, and records the largest difference. ``reference`` is transformers'
model in float32 and evaluation mode; ``model`` is Lavra's reading of what it saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar

from lavra.model.attention import Mask
from lavra.model.heads import logits
from lavra.model.transformer import Transformer

Record = Callable[[str, str, float], None]

disable_progress_bar()

TOLERANCE = 1e-4
PADS = (0, 3, 7)  # tokens of padding before, or behind, the rows of a batch of three
LENGTHS = (9, 5, 12, 1)  # of texts packed into a row


def random_ids(vocabulary: int, batch: int = 3, time: int = 21, *, least: int = 3, seed: int = 0) -> Tensor:
    """(B, T) ids from ``least`` up: the first few are special, and some models look for padding by id."""
    return torch.randint(least, vocabulary, (batch, time), generator=torch.Generator().manual_seed(seed))


def perturb(reference: nn.Module, seed: int = 0) -> nn.Module:
    """Move every vector, born as zeros or ones (norms, biases), so that a missing or swapped one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return reference.eval()


def assert_near(
    got: Tensor, expected: Tensor, record: Record, family: str, check: str, tolerance: float = TOLERANCE
) -> None:
    """``got`` is ``expected`` to ``tolerance``, and finite; the largest difference is recorded."""
    assert got.shape == expected.shape
    record(family, check, (got.float() - expected.float()).abs().max().item())
    torch.testing.assert_close(got.float(), expected.float(), atol=tolerance, rtol=tolerance)


def reference_output(reference: Any, ids: Tensor, **inputs: Tensor) -> Tensor:
    """Logits of a model that has them over its vocabulary, else the last hidden states."""
    with torch.inference_mode():
        out = reference(input_ids=ids, **inputs)
    return out.logits if getattr(out, "logits", None) is not None else out.last_hidden_state


def output(model: Transformer, ids: Tensor, **inputs: Any) -> Tensor:
    """What :func:`reference_output` gives, by Lavra."""
    with torch.inference_mode():
        hidden = model(ids, **inputs)
        return logits(model, hidden) if model.config.head in ("language", "masked") else hidden


def compare_logits(
    reference: Any, model: Transformer, ids: Tensor, record: Record, family: str, check: str = "logits"
) -> None:
    assert_near(output(model, ids), reference_output(reference, ids), record, family, check)


def compare_left_padding(reference: Any, model: Transformer, ids: Tensor, record: Record, family: str) -> None:
    """Rows of different lengths, padded before: real positions agree with transformers' on the same batch, and with
    each row alone. Padding is given, not guessed: its ids are as random as the others."""
    time = ids.shape[1]
    place, pads = torch.arange(time)[None], torch.tensor(PADS)[:, None]
    valid, positions = place >= pads, (place - pads).clamp(min=0)
    got = output(model, ids, mask=Mask(causal=model.config.causal, valid_BS=valid))
    expected = reference_output(reference, ids, attention_mask=valid.long(), position_ids=positions)
    assert_near(got[valid], expected[valid], record, family, "left padding")
    for row, pad in enumerate(PADS):
        alone = reference_output(reference, ids[row : row + 1, pad:])
        assert_near(got[row : row + 1, pad:], alone, record, family, "left padding")


def compare_right_padding(reference: Any, model: Transformer, ids: Tensor, record: Record, family: str) -> None:
    """The same with padding behind, as encoders have it."""
    valid = torch.arange(ids.shape[1])[None] < ids.shape[1] - torch.tensor(PADS)[:, None]
    got = output(model, ids, mask=Mask(causal=model.config.causal, valid_BS=valid))
    expected = reference_output(reference, ids, attention_mask=valid.long())
    assert_near(got[valid], expected[valid], record, family, "right padding")


def compare_packed(reference: Any, model: Transformer, ids: Tensor, record: Record, family: str) -> None:
    """Texts packed into one row: each is what transformers computes for it alone."""
    row = ids.flatten()[: sum(LENGTHS)][None]
    segments = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))[None]
    got = output(model, row, mask=Mask(causal=model.config.causal, segments_BS=segments))
    texts = torch.split(row, LENGTHS, 1)
    alone = torch.cat([reference_output(reference, text) for text in texts], 1)
    assert_near(got, alone, record, family, "packed")


def compare_cache(reference: Any, model: Transformer, ids: Tensor, record: Record, family: str) -> None:
    """A prompt, a chunk and single tokens through the cache: what transformers computes for the whole text at once;
    and the same for rows with padding before them."""
    time = ids.shape[1]
    cuts = [0, time // 2, time // 2 + 3, *range(time // 2 + 4, time + 1)]
    place, pads = torch.arange(time)[None], torch.tensor(PADS)[:, None]
    valid, positions = place >= pads, (place - pads).clamp(min=0)

    def decode(valid_BS: Tensor | None) -> Tensor:
        cache, parts = model.make_cache(time, batch=len(ids)), []
        for start, end in pairwise(cuts):
            mask = None if valid_BS is None else Mask(causal=True, valid_BS=valid_BS[:, :end])
            parts.append(output(model, ids[:, start:end], mask=mask, cache=cache))
        assert cache.length == time
        return torch.cat(parts, 1)

    assert_near(decode(None), reference_output(reference, ids), record, family, "cache")
    expected = reference_output(reference, ids, attention_mask=valid.long(), position_ids=positions)
    assert_near(decode(valid)[valid], expected[valid], record, family, "cache")


def compare_window(reference: Any, model: Transformer, ids: Tensor, record: Record, family: str) -> None:
    """A text several times as long as the window (or radius) agrees; and would not without it."""
    config = model.config
    size = config.window or config.radius
    assert size is not None
    assert ids.shape[1] >= 3 * size
    expected = reference_output(reference, ids)
    assert_near(output(model, ids), expected, record, family, "window")
    unbound = Transformer(
        replace(config, window=None, radius=None, local_layers=None, local_rope_theta=None, sinks=0)
    ).eval()
    unbound.load_state_dict(model.state_dict())
    assert (output(unbound, ids) - expected).abs().max() > 10 * TOLERANCE
