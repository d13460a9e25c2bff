"""inference: tokens out of a decoder (``engine``) and vectors out of an encoder (``embedder``).

Both are imported where they are used, because both import torch.
"""
