"""Whom a corpus speaks for: languages, sources, topics, years, lengths, dialects, people; and weights to change it."""
