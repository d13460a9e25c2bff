"""examples: sets of instructions, preferences and labelled texts as artifacts of the store, and what they are used for.

``ingesting.py`` takes files in, ``naming.py`` lets the verbs that train read a set by its name, ``checking.py`` says
what is doubtful in one, ``correcting.py`` makes another of what a person decided.
"""
