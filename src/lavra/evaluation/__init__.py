"""Measures: how good answers are, whether the sources say so, what was found, what it cost, and how sure that is.

Everything here is a function of questions and replies, whoever made the replies. The way from a file of questions to
figures is ``items.read_questions`` → replies → ``measuring.measure`` → ``intervals.mean_interval`` and ``paired``.
Nothing here reads a workspace.
"""
