"""llama.cpp as a judge of GGUF files, in a process of its own: a model it dislikes ends in an abort, not an exception.

Run as a program it prints, for a file and a prompt of token ids, the most probable next tokens and their logarithms,
step by step along its greedy answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

INSTALLED = find_spec("xllamacpp") is not None


def ask(path: Path, prompt: list[int], steps: int, shown: int) -> list[dict[int, float]]:
    """Log-probabilities by token, a dictionary a step."""
    asked = json.dumps({"path": str(path), "prompt": prompt, "steps": steps, "shown": shown})
    answer = subprocess.run([sys.executable, __file__], input=asked, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [{int(token): value for token, value in step.items()} for step in json.loads(answer.stdout.splitlines()[-1])]


def _answer(asked: dict[str, Any]) -> list[dict[int, float]]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 256, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup = False
    server = xllamacpp.Server(params)
    request = {"prompt": asked["prompt"], "n_predict": asked["steps"], "temperature": 0, "n_probs": asked["shown"]}
    reply = server.handle_completions({**request, "cache_prompt": False, "ignore_eos": True})
    content = reply["choices"][0]["logprobs"]["content"]
    return [{entry["id"]: entry["logprob"] for entry in step["top_logprobs"]} for step in content]


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.stdin.read()))))
