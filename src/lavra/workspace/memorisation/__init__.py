"""memorisation: ``lavra traps`` and ``lavra memorisation``.

``traps.py`` makes the sealed register and puts its texts into a copy of the corpus, ``writing.py`` has a model write
them; ``measuring.py`` asks a model what it shows of them, of texts that the user gives, or of one document, and keeps
the answer as an artifact; ``figures.py`` makes figures of readings, ``saying.py`` and
``pages.py`` say them. What is measured and tested
lives in ``lavra.evaluation.memorisation``.
"""
