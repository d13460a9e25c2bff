"""Ready measures of what people do with models: chat, answers within limits, translation, titles, log triage, groups.

Each is a data format (``readers.py``), a task of ``lavra evaluate`` (``recipe_…`` among the harness's task files) and a
measure (``processing.py``, ``limits.py``); ``clustering.py`` groups vectors, and ``logs.py`` writes lines of logs whose
labels are known. The guide's page “Recipes” has a measured example of each.
"""
