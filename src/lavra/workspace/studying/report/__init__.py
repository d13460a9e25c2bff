"""The report of a study: ``record.py`` says all of it as plain JSON (``study.json``), ``page.py`` shows that as one
HTML page without scripts, in the words of ``words.py`` and with the drawings of ``pictures.py``."""
