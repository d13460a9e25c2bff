"""The figures of a text that the rules compare, and the column of each."""

from __future__ import annotations

FIGURES = (
    *("characters", "words", "real_words", "real_characters", "alpha_words", "stop_words"),
    *("hashes", "ellipses", "lines", "bullet_lines", "ellipsis_lines", "newlines"),
    *("paragraphs", "dup_paragraphs", "dup_paragraph_chars", "rows", "dup_rows", "dup_row_chars"),
    *("top_2", "top_3", "top_4", "dup_5", "dup_6", "dup_7", "dup_8", "dup_9", "dup_10"),
    *("full_lines", "terminal_lines", "short_lines", "dup_line_chars"),
    *("c4_lines", "c4_kept", "c4_sentences", "lorem_ipsum", "curly_bracket", "c4_characters"),
)
"""Columns of `kernels.measure`. ``rows`` are lines with blank ones joined (Gopher), ``full_lines`` lines that are not
blank (FineWeb), ``real_words`` words with something besides marks, ``c4_kept`` lines that C4 keeps."""

_AT = {name: index for index, name in enumerate(FIGURES)}
CHARACTERS, WORDS, REAL, REAL_CHARS, ALPHA_WORDS, STOPS = range(6)
HASHES, ELLIPSES, LINES, BULLETS, ELLIPSIS_LINES, NEWLINES = range(6, 12)
PARAGRAPHS, DUP_P, DUP_P_CHARS, ROWS, DUP_R, DUP_R_CHARS = range(12, 18)
TOP_2, DUP_5 = _AT["top_2"], _AT["dup_5"]
FULL, TERMINAL, SHORT, DUP_L_CHARS = range(_AT["full_lines"], _AT["full_lines"] + 4)
C4_LINES, C4_KEPT, C4_SENTENCES, LOREM, CURLY, C4_CHARS = range(_AT["c4_lines"], _AT["c4_lines"] + 6)
