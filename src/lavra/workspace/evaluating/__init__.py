"""evaluating: the verb ``evaluate``, standard tasks asked of a model, kept in the store and compared.

What a task is and how it is asked lives in ``lavra.evaluation.harness``; ``run.py`` finds the model, keeps the results
as an artifact and finds them again, ``compare.py`` sets two of them side by side. Its modules import torch, this one
does not.
"""
