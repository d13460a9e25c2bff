"""E-mail (``.eml``): subject, sender, recipients, date and the body; attachments are named, not read."""

from __future__ import annotations

from email import message_from_bytes, policy

from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, TextBuilder, one_line
from lavra.corpus.readers import html
from lavra.corpus.settings import ReadSettings


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; the plain body is preferred to the HTML one."""
    message = message_from_bytes(data, policy=policy.default)
    builder = TextBuilder()
    subject = one_line(str(message["subject"] or ""))
    builder.heading(subject, 1)
    headers = {key: one_line(str(message[key])) for key in ("From", "To", "Cc", "Date") if message[key]}
    builder.write("\n".join(f"{key}: {value}" for key, value in headers.items()))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        payload = body.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        text = decode(content, body.get_content_charset())[0] if content.strip() else ""
        if body.get_content_type() == "text/html" and text:
            html.write(html.parse(text), builder, whole=True)
        else:
            builder.write(text)
    metadata = {key.lower(): value[:500] for key, value in headers.items() if key in ("From", "Date")}
    names = [one_line(part.get_filename() or part.get_content_type()) for part in message.iter_attachments()]
    if names:
        metadata["note"] = f"attachments not read: {', '.join(names[:20])}"
    return [builder.parts(title=subject, metadata=metadata)]
