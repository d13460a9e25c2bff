"""tuning: the verb ``tune``, supervised and continued training of a model that is there.

``settings.py`` says what can be asked for, ``data.py`` makes rows of tokens of people's files, ``base.py`` brings
model and adapter, ``measure.py`` says what was gained and what was forgotten, ``run.py`` does it all, and ``tries.py``
does it several times: rates, seeds, shares of the data. Its modules import torch, this one does not.
"""
