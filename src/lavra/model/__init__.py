"""The transformer: a frozen config, a block, positions, attention, heads; families as data; weights in.

Shapes in tensor names: B batch, T time, S source time (keys), C channels (the model's width), H heads, K key/value
heads, G query heads per key/value head, D head width, V vocabulary, N positions or heads flattened together.

``from lavra.model.weights import load_model`` reads a model; the modules import torch, this one does not.
"""
