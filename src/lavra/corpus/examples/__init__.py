"""examples: what a model is tuned on, read from people's files.

``example.py`` has the kinds, ``rows.py`` takes rows out of files, ``formats.py`` tells what a row is by its fields,
``checks.py`` says what is wrong with one, ``reading.py`` does all of it, file after file.
"""

from lavra.corpus.examples.example import Conversation, Example, Pair, Problem, Text
from lavra.corpus.examples.reading import ExampleSet, read_examples

__all__ = ["Conversation", "Example", "ExampleSet", "Pair", "Problem", "Text", "read_examples"]
