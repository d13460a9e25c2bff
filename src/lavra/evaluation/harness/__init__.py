"""Standard tasks: EleutherAI's lm-evaluation-harness (Gao et al. 2021) asks and judges, Lavra's transformer answers.

The harness knows prompts, few-shot examples, filters and metrics, and the world compares numbers that came out of it.
Here is what it lacks: a model class that is fast on Lavra's own transformer (``scoring.py``, ``generating.py``,
``model.py``), task files for data in a directory (``tasks/``), and what makes a score readable: what guessing would
have got (``baselines.py``), how sure it is, what is missing from an average (``averaging.py``), and the difference
between two models on the same items (``comparing.py``). The harness is an extra, and is imported when it is needed.
"""
