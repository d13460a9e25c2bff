"""traps: texts that exist nowhere else, put into a corpus so that a model can later be asked whether it memorised them.

A *trap* is a fictitious sentence (copyright traps: Meeus et al. 2024), a *canary* a formula with a random secret
(Carlini et al. 2019). Both are made in pairs, and a secret coin decides which of the two is put in; its twin never is.
So inserted and left-out texts differ by the coin alone, and only that makes a p-value of memorisation valid.

``grammar.py`` writes sentences without a model, ``making.py`` the pairs, ``injecting.py`` puts them into documents,
``register.py`` is the sealed record of it all. Sentences written by a model come from ``workspace/memorisation``.
"""
