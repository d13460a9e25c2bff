"""tuning: the verb ``tune``, supervised and continued training of a model that is there.

``settings.py`` says what can be asked for. ``data.py`` makes rows of tokens of people's files, ``teaching.py`` has a
teacher answer them. ``base.py`` brings model and adapter, ``objective.py`` what is learned and what holds the model.
``measure.py`` says what was gained and what was forgotten, by ``general.py`` (text), ``tasks.py`` and ``checks.py``
(the user's own). ``run.py`` does it all, ``interpolating.py`` goes half-way back, ``publishing.py`` keeps it, and
``tries.py`` does it several times: rates, seeds, shares of the data. Its modules import torch, this one does not.
"""
