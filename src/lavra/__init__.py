"""Lavra: from an organisation's documents to a language model that it owns, can explain and can answer for."""

__version__ = "0.1.0"
