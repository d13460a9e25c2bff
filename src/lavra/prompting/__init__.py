"""Prompts as versioned data: what the model is told, in the reader's language, with its sources numbered."""

from lavra.prompting.template import PromptTemplate, Shown, Source, Turn, load_template, plain

__all__ = ["PromptTemplate", "Shown", "Source", "Turn", "load_template", "plain"]
