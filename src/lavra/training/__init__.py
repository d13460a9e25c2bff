"""training: one loop for every objective, and what keeps it honest.

``loop.py`` has the :class:`Trainer`; the rest is what it is made of, a file an idea: settings, schedules, the loader,
gradient sums, the optimiser, checkpoints, the guard against NaN and divergence, ranks, the plan, progress, the report
and trackers. Its modules import torch, this one does not.
"""
