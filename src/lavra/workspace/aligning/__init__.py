"""The verb ``align``: a model learns what people prefer, or what a function rewards, as an adapter over it.

``settings.py``: what can be asked for; ``data.py``: preferences as the objectives take them; ``rewards.py``: who judges
what a model writes; ``run.py``: from these to an artifact of the store.
"""
