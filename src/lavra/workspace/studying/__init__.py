"""studying: the verb ``study``, several ways of making an assistant measured on the same questions, one recommended.

``exam.py`` settles the questions: given or made, split, checked for duplicates, placed in the corpus (``placing.py``).
``way.py`` says what a way is, ``ways.py`` lists those that come with Lavra: they ask (``asking.py``), retrieve
(``retrieving.py``) or learn (``learning.py``); ``own.py`` brings the user's. ``grid.py`` makes candidates of way, model
and setting. ``race.py`` builds and asks them, cheapest first, under a ``budget.py``; ``replies.py`` keeps every reply.
``resampling.py`` asks again, ``scoring.py`` measures, ``deciding.py`` recommends, ``report/`` says so, ``pricing.py``
knows what it costs. ``planning.py`` is before all of it and ``keeping.py`` after; ``run.py`` is all of it in order.
"""
