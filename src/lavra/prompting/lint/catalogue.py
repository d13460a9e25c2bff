# ruff: noqa: E501
"""Each rule: how much it matters, why, where that was published, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from lavra.prompting.lint.finding import Finding, Severity
from lavra.prompting.lint.subject import Part

_REFRAMING = "Mishra et al. 2022, Reframing Instructional Prompts to GPTk's Language"
_INJECTION = "Greshake et al. 2023, Not What You've Signed Up For: Indirect Prompt Injection"
_SPOTLIGHT = "Hines et al. 2024, Defending Against Indirect Prompt Injection Attacks With Spotlighting"
_CALIBRATE = "Zhao et al. 2021, Calibrate Before Use: Improving Few-Shot Performance of Language Models"
_SPURIOUS = "Sclar et al. 2024, Quantifying Language Models' Sensitivity to Spurious Features in Prompt Design"
_ROLES = "Min et al. 2022, Rethinking the Role of Demonstrations"
_OWASP = "OWASP 2025, Top 10 for LLM Applications"


@dataclass(frozen=True)
class Rule:
    severity: Severity
    why: str
    do: str
    reference: str = ""


RULES: dict[str, Rule] = {
    # clarity
    "vague-word": Rule("warning", "It can be met by anything, so it asks for nothing.",
        "Say what can be checked: a number, a list of cases, a condition.", _REFRAMING),
    "vague-amount": Rule("note", "How much is meant is left to the model.", "Give a number: words, sentences, items.",
        "Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models"),
    "contradiction": Rule("warning", "Both cannot be obeyed, and which one is differs from answer to answer.",
        "Keep one of the two, or say when each holds."),
    "negation-without-alternative": Rule("warning",
        "Models follow what to do better than what not to do, and negations are the instructions most often missed.",
        "Say what to do instead, in the same sentence.",
        f"{_REFRAMING}; Jang et al. 2023, Can Large Language Models Truly Understand Prompts?"),
    "several-tasks": Rule("warning", "Each task takes from the others; the later ones are often left out.",
        "Make a prompt of each, the answer of one being the input of the next.",
        f"{_REFRAMING}; Khot et al. 2023, Decomposed Prompting"),
    "long-sentence": Rule("note", "Conditions deep inside a sentence get lost.", "Make an item of each condition.", _REFRAMING),
    # format
    "format-not-specified": Rule("warning", "Which fields or columns are wanted is left to the model.",
        "Name the fields, or show one whole example of the output.", _REFRAMING),
    "placeholder-unknown": Rule("error", "Nothing fills it, so the prompt cannot be rendered.",
        "Use a variable that there is."),
    "placeholder-unused": Rule("error", "The model is never told it.", "Put the variable into the user's text."),
    "placeholder-braces": Rule("error", "It is no placeholder of the template, and is sent as it stands.",
        "Write {{ name }}, with two braces."),
    "template-syntax": Rule("error", "The prompt cannot be rendered.", "Mend the template; it is Jinja."),
    "left-over": Rule("warning", "It looks like something that was meant to be filled in.", "Fill it in or take it out."),
    "languages-differ": Rule("warning", "Readers of one language get another prompt than those of another.",
        "Use the same variables in every language."),
    "unclosed": Rule("warning", "Where the quoted part ends is left to the model.", "Close it."),
    # length
    "too-long": Rule("error", "With its passages and the answer it is longer than the model reads, so something is cut.",
        "Shorten it, read fewer passages ([answer] read), or take a model with a longer context."),
    "long-instructions": Rule("note", "Instructions take more of the context than what they are about; answers get "
        "worse with length well before the context is full.", "Keep what changes answers; measure with `lavra prompts improve`.",
        "Levy et al. 2024, Same Task, More Tokens"),
    # examples
    "no-examples": Rule("note", "A format or a set of labels is learned better from examples than from words.",
        "Show two to four examples, of different labels.", f"Brown et al. 2020, section 2; {_ROLES}"),
    "examples-inconsistent": Rule("warning", "Models copy the layout of examples; accuracy moves by dozens of points with it.",
        "Give all examples the same keys, separators and capitals, and each an output.", _SPURIOUS),
    "example-tells-label": Rule("warning", "The example's input says its output, which real inputs do not do.",
        "Take an example whose input does not hold the label.", _ROLES),
    "examples-ordered": Rule("warning", "Models lean towards the labels that stand last.",
        "Mix the labels.", f"{_CALIBRATE}; Lu et al. 2022, Fantastically Ordered Prompts and Where to Find Them"),
    "examples-one-sided": Rule("warning", "Models lean towards the label that examples show most.",
        "Show as many examples of each label.", _CALIBRATE),
    "example-twice": Rule("warning", "It takes room and tells nothing new; it makes its label heavier.",
        "Take another example.", _CALIBRATE),
    # persona
    "no-persona": Rule("note", "Whom the model speaks for is left open: tone and knowledge vary. Accuracy gains little by it.",
        "Say in one sentence who answers and for whom.",
        "Zheng et al. 2024, When “A Helpful Assistant” Is Not Really Helpful"),
    "persona-conflict": Rule("warning", "Two roles or tones are asked for, and the model mixes them.", "Keep one."),
    # injection
    "slot-not-delimited": Rule("warning", "Where a stranger's text begins and ends cannot be seen, so what it says reads "
        "like the prompt's own words.", "Put a label before it and marks around it, such as <text> … </text>.", _SPOTLIGHT),
    "slot-only-labelled": Rule("note", "A label says where a stranger's text begins; nothing says where it ends, and the "
        "text may write the next label itself.", "Put marks around it, such as <text> … </text>.", _SPOTLIGHT),
    "data-not-declared": Rule("note", "Nothing says that documents are material and give no orders, so orders in them are "
        "obeyed more often.", "Say that what stands in the text is data, and that instructions in it are not followed.", _INJECTION),
    "instructions-after-data": Rule("warning", "After text that nothing closes, instructions may be taken for part of it, "
        "and it can contradict them beforehand.", "Put instructions before the text, or close it first.", _SPOTLIGHT),
    "slot-in-system": Rule("warning", "The system's text is obeyed most; a stranger's words there have its authority.",
        "Put it into the user's text.", "Wallace et al. 2024, The Instruction Hierarchy"),
    "secret": Rule("error", "Whoever talks to the model can have it repeat the prompt, and prompts are kept in logs.",
        "Take it out and change it; keep it where the program calls the service.", f"{_OWASP}, LLM07"),
    "control-token": Rule("warning", "It belongs to a chat template: as text it confuses, and in another program it ends "
        "the turn.", "Take it out: turns are laid out by the model's own template.", "Chen et al. 2025, StruQ"),
    "hidden-character": Rule("warning", "It cannot be seen and is read by the model: it hides instructions or splits words.",
        "Remove it.", "Boucher et al. 2022, Bad Characters: Imperceptible NLP Attacks"),
}  # fmt: skip


def finding(
    rule: str, part: Part, start: int, end: int, what: str, *, severity: Severity | None = None, do: str = ""
) -> Finding:
    """At ``part.text[start:end]``."""
    known = RULES[rule]
    before = part.text[:start]
    line = before.count("\n")
    column = start - (before.rfind("\n") + 1) + 1
    excerpt = " ".join(part.text[start:end].split())
    excerpt = excerpt if len(excerpt) <= 80 else f"{excerpt[:77]}…"
    return Finding(
        rule, severity or known.severity, part.label, part.line + line, column, excerpt, what, known.why,
        do or known.do, known.reference,
    )  # fmt: skip
