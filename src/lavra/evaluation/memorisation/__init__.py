"""memorisation: what a model shows of the texts that it was trained on.

``reading.py`` asks the model for the probabilities of a text's tokens; ``scores.py`` makes membership scores of them,
``extraction.py`` lets it continue beginnings, ``exposure.py`` ranks canaries among what they might have been.
``testing.py`` and ``curves.py`` say what such figures prove, ``blind.py`` what could be told without the model,
``tuned_gap.py`` asks about one document, ``sources.py`` finds the documents that hold a passage. Traps themselves are
made in ``lavra.corpus.traps``.
"""
