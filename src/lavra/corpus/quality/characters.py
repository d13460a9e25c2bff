"""What every character is, as bits of one table: the rules look a code point up instead of asking Python.

The sets are those of the published rules' reference code (datatrove), which follow Python's own: ``SPACE`` is
`str.isspace`, ``ALPHA`` `str.isalpha`, ``BREAK`` what `str.splitlines` breaks at, ``TERMINAL`` Unicode's sentence
terminals, ``SYMBOL`` what a word may consist of and still be none.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

SPACE, ALPHA, BREAK, TERMINAL, SYMBOL, UPPER, LOWER, SPLIT, QUOTE, DIGIT, HYPHEN = (1 << bit for bit in range(11))
ICON, CURRENCY, STOP, PUNCTUATION = 1 << 11, 1 << 12, 1 << 13, 1 << 14

_TERMINALS = (
    ".?!¡¿"[:3]
    + "։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡"
    + "".join(
        map(
            chr,
            (
                *(0x10A56, 0x10A57, *range(0x10F55, 0x10F5A), *range(0x10F86, 0x10F8A), 0x11047, 0x11048),
                *(*range(0x110BE, 0x110C2), *range(0x11141, 0x11144), 0x111C5, 0x111C6, 0x111CD, 0x111DE, 0x111DF),
                *(0x11238, 0x11239, 0x1123B, 0x1123C, 0x112A9, 0x1144B, 0x1144C, 0x115C2, 0x115C3),
                *(*range(0x115C9, 0x115D8), 0x11641, 0x11642, *range(0x1173C, 0x1173F), 0x11944, 0x11946),
                *(0x11A42, 0x11A43, 0x11A9B, 0x11A9C, 0x11C41, 0x11C42, 0x11EF7, 0x11EF8, 0x11F43),
                *(0x16A6E, 0x16A6F, 0x16AF5, 0x16B37, 0x16B38, 0x16B44, 0x16E98, 0x1BC9F, 0x1DA88),
            ),
        )
    )
)
_SYMBOLS = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
_CONTROLS = (range(9), range(11, 13), range(13, 32), range(127, 160))
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_SPLIT_OFF = ",:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪…"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉"
_HYPHENS = "-–—~"
_CURRENCIES = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_SENTENCE_ENDS = "!.?…。！？｡"  # the commonest of spaCy's sentencizer; the other scripts' follow from TERMINAL


@cache
def character_table() -> NDArray[np.uint16]:
    """(1114112,) bits of every code point."""
    table = np.zeros(sys.maxunicode + 1, dtype=np.uint16)
    for code in range(0x323B0):  # the last letter of the planes in use; what follows is private or unassigned
        char = chr(code)
        bits = 0
        if char.isspace():
            bits |= SPACE
        if char.isalpha():
            bits |= ALPHA
            if char.islower() or not char.isupper():  # letters without case count as both, as in spaCy
                bits |= LOWER
            if char.isupper() or not char.islower():
                bits |= UPPER
        if "0" <= char <= "9":
            bits |= DIGIT
        category = unicodedata.category(char)
        if code > 0xA0 and category == "So":
            bits |= ICON
        if category[0] == "P":
            bits |= PUNCTUATION
        table[code] = bits
    for chars, bit in (
        (_BREAKS, BREAK),
        (_TERMINALS, TERMINAL | SYMBOL | STOP),
        (_SYMBOLS, SYMBOL),
        (_SPLIT_OFF, SPLIT),
        (_QUOTES, QUOTE | SPLIT),
        (_HYPHENS, HYPHEN),
        (_CURRENCIES, CURRENCY),
        (_SENTENCE_ENDS, STOP),
    ):
        for char in chars:
            table[ord(char)] |= bit
    for span in _CONTROLS:
        table[span.start : span.stop] |= SYMBOL
    return table
