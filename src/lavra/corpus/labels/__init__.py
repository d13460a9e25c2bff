"""labels: sets of instructions, preferences, labelled texts and pairs, taken in row by row; what is doubtful in them.

``entry.py`` is a row of a set as it is kept, ``reading.py`` makes entries of people's files, ``repeats.py`` finds what
stands twice or contradicts itself, ``apart.py`` what tests hold too, ``taking.py`` does all of it. ``confident.py`` is
confident learning, ``predicting.py`` what it needs, ``signals.py`` what is doubtful in answers, ``suggestions.py`` the
file in which a person decides.
"""
