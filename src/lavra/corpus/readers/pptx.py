"""PowerPoint: slide by slide, the title first, then text and tables in their order, then the speaker's notes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, Unreadable, one_line
from lavra.corpus.settings import ReadSettings

_MAX_GROUPS = 20


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document with a span a slide, labelled by number."""
    import pptx

    presentation = pptx.Presentation(io.BytesIO(data))
    slides = list(presentation.slides)
    if len(slides) > settings.max_pages:
        limit = f"{settings.max_pages:,}: raise `max_pages`"
        raise Unreadable("too_large", f"it has {len(slides):,} slides, over the limit of {limit}")
    builder = TextBuilder()
    for number, slide in enumerate(slides, 1):
        with builder.within("slide", str(number)):
            title = slide.shapes.title
            if title is not None:
                builder.heading(title.text_frame.text, 1)
            _shapes((s for s in slide.shapes if title is None or s.shape_id != title.shape_id), builder, 0)
            if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
                builder.write(_paragraphs(slide.notes_slide.notes_text_frame))
    properties = presentation.core_properties
    metadata = {"author": author} if (author := one_line(properties.author or "")) else {}
    metadata["slides"] = str(len(slides))
    title_property = one_line(properties.title or "")
    return [
        builder.parts(title="" if title_property == "PowerPoint Presentation" else title_property, metadata=metadata)
    ]


def _shapes(shapes: Iterable[Any], builder: TextBuilder, depth: int) -> None:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            if depth < _MAX_GROUPS:
                _shapes(shape.shapes, builder, depth + 1)
        elif getattr(shape, "has_table", False):
            builder.table([[cell.text_frame.text for cell in row.cells] for row in shape.table.rows])
        elif getattr(shape, "has_text_frame", False):
            builder.write(_paragraphs(shape.text_frame))


def _paragraphs(frame: Any) -> str:
    lines = (("  " * paragraph.level, one_line(paragraph.text)) for paragraph in frame.paragraphs)
    return "\n".join(indent + line for indent, line in lines if line)
