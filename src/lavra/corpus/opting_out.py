"""Whether a document's owner has said that it may not be trained on: opt-outs, as machines read them.

The TDM Reservation Protocol (W3C community group, 2024) in a response's header or a page's ``<meta>``: the reservation
that Article 4(3) of the EU's directive on copyright asks for. ``noai`` and ``noml`` in ``X-Robots-Tag`` or
``<meta name="robots">``: a convention of artists' sites. What the site's files say (`site_files`: tdmrep.json, ai.txt,
robots.txt). And what a ``lavra-sources.toml`` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RESERVATION = "tdm_reservation"
"""Metadata: ``1`` or ``true`` where text and data mining is reserved."""
POLICY = "tdm_policy"
"""Metadata: where the conditions stand for those who ask."""
SITE = "site_opt_out"
"""Metadata: the file by which the document's site opted out."""
ROBOTS = ("x_robots_tag", "robots")
"""Metadata: directives to robots."""
_NO_TRAINING = re.compile(r"(?:^|[\s,:])(noai|noml)(?:$|[\s,])", re.I)


def opted_out(metadata: Mapping[str, str]) -> str | None:
    """The opt-out that a document's metadata carry, as the signal's name; None where there is none.

    A reservation that is said to be lifted (``0``, ``false``) goes before what robots are told.
    """
    said = metadata.get(RESERVATION, metadata.get("tdm-reservation", "")).strip().lower()
    if said in ("1", "true"):
        return "TDM reservation"
    if said in ("0", "false"):
        return None
    for name in ROBOTS:
        if match := _NO_TRAINING.search(metadata.get(name, "")):
            return match[1].lower()
    return metadata.get(SITE) or None
