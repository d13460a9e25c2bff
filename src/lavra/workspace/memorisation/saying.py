"""What results say, in sentences that claim no more than the figures do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WEAKER = (
    "This p is of the weaker kind: nobody drew by lot which texts were read, so it also gets small where the two files "
    "differ in age, topic or layout."
)
NO_EVIDENCE = "No evidence is not the same as clean"
SURE = 0.05
_UNLIKE = 0.1
"""How far above 0.5 the AUC of words alone may be before two files are called different."""


def sentences(results: Mapping[str, Any]) -> list[str]:
    """Of each part that was asked for."""
    found: list[str] = []
    for name, said in (("register", _of_register), ("texts", _of_texts), ("document", _of_document)):
        if name in results:
            found += said(results[name])
    return found


def _of_register(part: Mapping[str, Any]) -> list[str]:
    rows = [*part["measures"], *(row for row in part["canaries"] if row["inserted"])]
    sure = [row for row in rows if row["p_corrected"] < SURE]
    levels: dict[int, list[str]] = {}
    for row in sure:
        if row["repetitions"] != "all":
            levels.setdefault(row["repetitions"], []).append(row["measure"])
    corrected = f"p < {SURE}, corrected for {len(rows)} tests"
    if levels:
        said = "; ".join(f"{level} times, by {', '.join(names)}" for level, names in sorted(levels.items()))
        found = [f"The model was trained on what was put in, and shows it: {said} ({corrected})."]
    elif sure:
        found = [f"All repetitions together show that the model was trained on what was put in ({corrected})."]
    else:
        found = [f"No evidence that the model was trained on what was put in (no {corrected}). {NO_EVIDENCE}."]
    missed = {str(row["repetitions"]) for row in rows} - {str(level) for level in levels}
    least = ", ".join(f"{chance:.0%} at {level}" for level, chance in part["least_seen"].items() if level in missed)
    if least:
        found.append(
            "What was not found may be there: a trap's chance to score above its twin would have had to be at least "
            f"{least} repetitions, to be seen in 80 of 100 tries by one test alone."
        )
    if part["sealed"]:
        first = min(part["sealed"], key=lambda one: one["made"])
        found.append(f"The register is what {first['corpus']} was sealed with ({first['made']}).")
    else:
        found.append(
            "No corpus of this workspace carries the register's seal: that it is older than the model, others must "
            "vouch for."
        )
    if part["cut"]:
        found.append(f"{part['cut']} texts were longer than the model's context, and only their beginnings were read.")
    return found


def _of_texts(part: Mapping[str, Any]) -> list[str]:
    best = min(part["measures"], key=lambda row: row["p_corrected"])
    if best["p_corrected"] < SURE:
        figures = f"by {best['measure']}, AUC {best['auc']:.3f}, p {said_p(best['p_corrected'])}, corrected"
        found = [f"The texts score above the controls ({figures})."]
    else:
        found = [f"No evidence that the texts were read rather than the controls. {NO_EVIDENCE}."]
    found.append(WEAKER)
    blind = part["blind_auc"]
    if blind is None:
        found.append("Whether the two files differ by themselves takes at least five texts of each to be measured.")
    elif blind > 0.5 + _UNLIKE:
        found.append(
            f"The two files differ by themselves: their words alone tell them apart with an AUC of {blind:.2f}. A "
            "measure that gets no more than that shows nothing of the model."
        )
    else:
        found.append(f"Their words alone tell the two files apart with an AUC of {blind:.2f}, where 0.5 is not at all.")
    if part["cut"]:
        found.append(f"{part['cut']} texts were longer than the model's context, and only their beginnings were read.")
    for one in part["sources"]:
        places = [f"{of['source']} ({of['run']} of {of['of']} words in a row)" for of in one["sources"]]
        if places:
            where = ("the model read it in " if one["read"] else "it stands in ") + ", ".join(places)
        else:
            where = f"no document of {'the token files it was trained on' if one['read'] else 'the corpus'} holds it"
        found.append(f"Text {one['text'] + 1} is written by the model from its beginning; {where}.")
    return found


def _of_document(part: Mapping[str, Any]) -> list[str]:
    made = part["members_made"]
    known = "half of the controls, which the copy had learned before" if made else "texts of the training data"
    auc = f"AUC {part['auc']:.3f}, 95% {part['low']:.3f} – {part['high']:.3f}"
    found = [
        f"When a copy was tuned on the document, its loss fell by {part['gap']:.3f} nats a token over {part['pieces']} "
        f"pieces; that of {known} by {_mean(part['members']):.3f}, of the other controls by "
        f"{_mean(part['others']):.3f}. What was read before gains less."
    ]
    if part["told"]:
        found.append(
            f"Confidence that it was in the training data: {part['confidence']:.0%}, if that was as likely as not "
            f"beforehand. On the known texts, each left out in turn, it was on the right side {part['accuracy']:.0%} "
            f"of the time (Brier score {part['brier']:.3f}; {auc})."
        )
    else:
        found.append(
            f"That tells nothing: on the known texts the gap does not tell members from others ({auc}). {NO_EVIDENCE}."
        )
    if made:
        found.append(
            "Members that were made are fresher than anything from pre-training, so that this is an upper bound of "
            "what can be told: give known ones as --texts."
        )
    found.append(f"Among the controls the document's gap has p = {said_p(part['p'])}. {WEAKER}")
    return found


def said_p(p: float) -> str:
    """Two digits; what is less than a ten-thousandth as that."""
    if math.isnan(p):
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
