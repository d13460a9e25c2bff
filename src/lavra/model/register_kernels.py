"""What an encoder does between its matrix products, each in one pass: values stay in registers or the nearest cache.

Compiled by numba, which is not needed to run: ``quick_encoder.py`` uses these where it can be imported. Tensors are
bf16 and come as their bits (``uint16``): a bf16 is the upper half of a float32, so widening is a shift and rounding an
addition, and all arithmetic between is float32. Loops are written so that LLVM makes vectors of them: one row after
the other, no branch inside, constants that are float32. Callers see to shapes; indices are not checked.

Shapes beside the legend's: N rows, U a row of keys with room for padding (U ≥ S).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_f, _i, _u = np.float32, np.int32, np.uint32
_NEAR = 60.0
"""Powers of two that need no shift: sums of them, and of values times them, stay far within float32's range."""

_compiled: Any = njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
_inline: Any = njit(inline="always")


@_inline
def _wide(bits: Any) -> Any:
    return np.uint32(_u(bits) << _u(16)).view(np.float32)


@_inline
def _narrow(value: Any) -> Any:
    """The nearest bf16; of two that are as near, the one farther from zero."""
    return np.uint16(_u(np.float32(value).view(np.uint32) + _u(0x8000)) >> _u(16))


@_inline
def _ordered(bits: Any) -> Any:
    """A float32's bits as a number that is as great, and back: LLVM makes vectors of the maximum of integers only."""
    return _i(bits ^ _i(_i(bits >> _i(31)) & _i(0x7FFFFFFF)))


@_inline
def _power_of_two(x: Any) -> Any:
    """2 to the power of ``x`` in -126 … 127: the whole part moves the exponent, Taylor's series does the rest.

    To 3e-6 of the value; a bf16 holds 4e-3.
    """
    whole = _i(x + _f(127.5))
    rest = x - _f(_i(whole - _i(127)))
    power = _f(1.3333558e-3)
    power = power * rest + _f(9.6181291e-3)
    power = power * rest + _f(5.5504109e-2)
    power = power * rest + _f(2.4022651e-1)
    power = power * rest + _f(6.9314718e-1)
    power = power * rest + _f(1.0)
    return power * np.int32(_i(whole << _i(23))).view(np.float32)


@_inline
def _normalise(row: Any, total: Any, weight: Any, bias: Any, epsilon: Any, out: Any) -> Any:
    """LayerNorm of a row (Ba et al. 2016) whose sum is ``total``; gives one over its standard deviation."""
    width = len(row)
    mean = total / _f(width)
    squares = _f(0)
    for c in range(width):
        off = row[c] - mean
        squares += off * off
    inverse = _f(1) / np.sqrt(squares / _f(width) + _f(epsilon))
    for c in range(width):
        out[c] = _narrow((row[c] - mean) * inverse * weight[c] + bias[c])
    return inverse


@_compiled
def gelu(x_N: Any) -> None:
    """x becomes x · Φ(x), the exact one (Hendrycks and Gimpel 2016), in place.

    erf(z / √2) / z is a polynomial in z², fitted for the least largest error of the result where z < 4.25: 3.1e-6.
    Beyond it erf is taken for 1, which is off by 4.5e-5 at most; a bf16 rounds 4.25 by up to 1.6e-2.
    """
    for n in range(len(x_N)):
        x = _wide(x_N[n])
        z = abs(x)
        t = x * x * _f(2 / 4.25**2) - _f(1)
        ratio = _f(-1.69861574e-3)
        ratio = ratio * t + _f(5.4548664e-3)
        ratio = ratio * t - _f(9.20159929e-3)
        ratio = ratio * t + _f(1.61904308e-2)
        ratio = ratio * t - _f(3.0746201e-2)
        ratio = ratio * t + _f(5.17337453e-2)
        ratio = ratio * t - _f(7.80563543e-2)
        ratio = ratio * t + _f(1.11306019e-1)
        ratio = ratio * t - _f(1.61566757e-1)
        ratio = ratio * t + _f(3.31873261e-1)
        error_function = z * ratio
        error_function = error_function if z < _f(4.25) else _f(1)
        x_N[n] = _narrow(_f(0.5) * (x + z * error_function))


@_compiled
def embed(
    ids_BT: Any, words_VC: Any, places_TC: Any, kind_C: Any, weight_C: Any, bias_C: Any, epsilon: Any, out_NC: Any,
    inverse_BT: Any,
) -> None:  # fmt: skip
    """LayerNorm(word + place + kind) of each token; ``kind_C``, ``weight_C`` and ``bias_C`` are float32.

    ``inverse_BT``, for :func:`split_known`: one over the standard deviation of the sum.
    """
    batch, time = ids_BT.shape
    width = words_VC.shape[1]
    row = np.empty(width, np.float32)
    for b in range(batch):
        for t in range(time):
            word, place = words_VC[ids_BT[b, t]], places_TC[t]
            total = _f(0)
            for c in range(width):
                value = _wide(word[c]) + _wide(place[c]) + kind_C[c]
                row[c] = value
                total += value
            inverse_BT[b, t] = _normalise(row, total, weight_C, bias_C, epsilon, out_NC[b * time + t])


@_compiled
def split_known(
    ids_BT: Any, words_VMHD: Any, places_TMHD: Any, rest_MHD: Any, inverse_BT: Any, q_BHTD: Any, k_BHUD: Any,
    v_BHUD: Any,
) -> None:  # fmt: skip
    """As :func:`split`, of the first layer, whose products with each word and each place are known: (word + place) ·
    inverse + rest, where places and rest are float32."""
    batch, time = ids_BT.shape
    _, _, heads, width = words_VMHD.shape
    for b in range(batch):
        for t in range(time):
            word, place, inverse = words_VMHD[ids_BT[b, t]], places_TMHD[t], inverse_BT[b, t]
            for h in range(heads):
                for d in range(width):
                    value = (_wide(word[0, h, d]) + place[0, h, d]) * inverse + rest_MHD[0, h, d]
                    q_BHTD[b, h, t, d] = _narrow(value)
                for d in range(width):
                    value = (_wide(word[1, h, d]) + place[1, h, d]) * inverse + rest_MHD[1, h, d]
                    k_BHUD[b, h, t, d] = _narrow(value)
                for d in range(width):
                    value = (_wide(word[2, h, d]) + place[2, h, d]) * inverse + rest_MHD[2, h, d]
                    v_BHUD[b, h, t, d] = _narrow(value)


@_compiled
def add_and_normalise(x_NC: Any, added_NC: Any, weight_C: Any, bias_C: Any, epsilon: Any) -> None:
    """x becomes LayerNorm(x + added); ``weight_C`` and ``bias_C`` are float32."""
    count, width = x_NC.shape
    row = np.empty(width, np.float32)
    for n in range(count):
        x, added = x_NC[n], added_NC[n]
        total = _f(0)
        for c in range(width):
            value = _wide(x[c]) + _wide(added[c])
            row[c] = value
            total += value
        _normalise(row, total, weight_C, bias_C, epsilon, x)


@_compiled
def split(qkv_BTMHD: Any, q_BHTD: Any, k_BHUD: Any, v_BHUD: Any) -> None:
    """Queries, keys and values (M = 3) of one product, heads first."""
    batch, time, _, heads, width = qkv_BTMHD.shape
    for b in range(batch):
        for t in range(time):
            for h in range(heads):
                for d in range(width):
                    q_BHTD[b, h, t, d] = qkv_BTMHD[b, t, 0, h, d]
                for d in range(width):
                    k_BHUD[b, h, t, d] = qkv_BTMHD[b, t, 1, h, d]
                for d in range(width):
                    v_BHUD[b, h, t, d] = qkv_BTMHD[b, t, 2, h, d]


@_compiled
def weigh(scores_MTU: Any, keys_M: Any, scale: Any, inverse_MT: Any) -> None:
    """Scores become weights exp(scale · score) over the first ``keys_M`` keys and 0 over the others; ``inverse_MT``
    is one over their sums, for :func:`merge` to multiply with after the second product, where fewer numbers are.

    A softmax subtracts a row's largest score so that nothing overflows. Looking for it takes half as long again as all
    the rest, so it is done where a head has a score that is far from zero.
    """
    count, queries, room = scores_MTU.shape
    factor = _f(scale * 1.4426950408889634)  # 1 / ln 2
    for m in range(count):
        keys = _i(keys_M[m])
        bits = scores_MTU[m].reshape(-1)
        furthest = _i(0)
        for j in range(len(bits)):
            furthest = max(furthest, _i(_i(bits[j]) & _i(0x7FFF)))
        near = _wide(furthest) * factor < _f(_NEAR)
        for t in range(queries):
            row = scores_MTU[m, t]
            shift = _f(0)
            if not near:
                largest = _i(-0x7FFFFFFF)
                for j in range(keys):
                    largest = max(largest, _ordered(_i(_i(row[j]) << _i(16))))
                shift = np.int32(_ordered(largest)).view(np.float32) * factor
            total = _f(0)
            for j in range(room):
                power = _wide(row[j]) * factor - shift
                power = power if power > _f(-126) else _f(-126)
                weight = _power_of_two(power)
                weight = weight if _i(j) < keys else _f(0)  # 64-bit places would halve the speed
                total += weight
                row[j] = _narrow(weight)
            inverse_MT[m, t] = _f(1) / total


@_compiled
def merge(mixed_BHTD: Any, inverse_BHT: Any, out_BTHD: Any) -> None:
    """Heads side by side again, each query's sum of values divided by its sum of weights."""
    batch, heads, time, width = mixed_BHTD.shape
    for b in range(batch):
        for t in range(time):
            for h in range(heads):
                inverse = inverse_BHT[b, h, t]
                for d in range(width):
                    out_BTHD[b, t, h, d] = _narrow(_wide(mixed_BHTD[b, h, t, d]) * inverse)
