"""Personal data: found by pattern, proven by check digits, replaced by typed placeholders, counted and never logged."""

from lavra.corpus.personal.finding import Finding, find, redact
from lavra.corpus.personal.kinds import KINDS, Kind, own_kind

__all__ = ["KINDS", "Finding", "Kind", "find", "own_kind", "redact"]
