"""Tuning what reads: an embedder on pairs, a reranker on questions with passages, a classifier on labelled texts.

``settings.py`` says what can be asked for, ``pairs.py`` where pairs come from and which are held out. ``embedder.py``,
``reranker.py`` and ``classifier.py`` each say what is learned and what is saved; ``run.py`` does it, on ``runs.py``,
as for every model that is trained: the run lies in ``.lavra/runs`` while it lasts, so that the same command continues
it, and what comes of it is a ``model`` artifact with base and corpus in its pedigree. ``model.py`` says which weights
are trained; ``calibration.py`` makes a classifier's probabilities believable, ``classes.py`` says how good it is.
"""
