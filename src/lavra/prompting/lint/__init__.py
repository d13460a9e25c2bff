"""What is wrong with a prompt, found by reading it: no model is asked.

Each rule is a function from a prompt in one language to findings, pure and quick, and lies in the file of its subject:
``clarity.py``, ``formats.py``, ``length.py``, ``examples.py``, ``persona.py``, ``injection.py``. ``catalogue.py`` says
of each why it matters, who published that, and what to do; ``words.py`` holds the words of English, Portuguese and
Spanish. The rules look at words, so they pass over faults of meaning, and now and then find one that is none; the tests
measure both.
"""

from lavra.prompting.lint.finding import Finding, Severity
from lavra.prompting.lint.linting import lint_template, lint_text
from lavra.prompting.lint.subject import Room

__all__ = ["Finding", "Room", "Severity", "lint_template", "lint_text"]
