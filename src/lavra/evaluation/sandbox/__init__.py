"""Programs that a model wrote, run where they can do no harm (Chen et al. 2021, section 2.3, name the need).

``inside.py`` is what runs around a program, in a process of its own: limits first, then the program, then its tests.
``walls.py`` puts namespaces around that process, as bubblewrap does where it is installed. ``isolation.py`` tries which
walls this machine has, and says what they hold. ``running.py`` is the outside: it starts, reads, and kills in time.
"""

from lavra.evaluation.sandbox.isolation import Isolation, find_isolation
from lavra.evaluation.sandbox.running import Limits, Outcome, run_program

__all__ = ["Isolation", "Limits", "Outcome", "find_isolation", "run_program"]
