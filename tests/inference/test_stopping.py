"""Stop strings never leak, wherever the pieces were cut."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lavra.inference.stopping import StopFilter

letters = st.text("ab\n", max_size=30)
stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """By definition, one letter at a time: the text before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(letters, stops, st.lists(st.integers(1, 5), min_size=1, max_size=8))
@example("aaab", ["aab"], [1])
@example("xabc", ["ab", "xabc"], [1])
def test_what_is_shown_is_the_text_before_the_first_stop_string_however_it_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    stream, shown, at, turn = StopFilter(stops), "", 0, 0
    before, stopped = expected(text, stops)
    while at < len(text) and not stream.stopped:
        size = cuts[turn % len(cuts)]
        shown += stream.push(text[at : at + size])
        at, turn = at + size, turn + 1
        assert before.startswith(shown), "a letter of a stop string was shown"
    shown += stream.flush()
    assert (shown, stream.stopped) == (before, stopped)


def test_text_is_not_held_back_without_need() -> None:
    stream = StopFilter(["\n\nUser:"])
    assert stream.push("Hello") == "Hello"
    assert stream.push("\n") == ""
    assert stream.push("there") == "\nthere"


def test_nothing_comes_after_a_stop_string() -> None:
    stream = StopFilter(["STOP"])
    assert stream.push("go STOP now") == "go "
    assert stream.push("more") == ""
    assert stream.flush() == ""
