"""``lavra bias``: what a model has learned about groups of people, and two ways to make it less."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace
from lavra.cli.results import print_table
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.evaluation.bias.generations import Compared, Prompt
    from lavra.inference.self_debias import Debiasing

bias_app = typer.Typer(
    no_args_is_help=True,
    help="What a model has learned about groups of people, by likelihood and in its own words; and making it less.",
)

ModelArgument = Annotated[
    str | None, typer.Argument(help="A model or what was tuned; by default the workspace's generator.")
]
DebiasOption = Annotated[
    bool,
    typer.Option("--self-debias", help="Also with self-debiasing at decoding: a pass more a token and description."),
]
AgainstOption = Annotated[
    list[str] | None, typer.Option(help="What is not to be written, in words; repeat. By default stereotypes.")
]
DecayOption = Annotated[float, typer.Option(min=0, help="How strongly self-debiasing pulls; the paper has 10 to 100.")]
LanguageOption = Annotated[str, typer.Option(help="en or pt: of the words around the descriptions.")]


@bias_app.command()
def measure(
    model: ModelArgument = None,
    data: Annotated[Path | None, typer.Option(help="The directory of lavra evaluate's data, for CrowS-Pairs.")] = None,
    limit: Annotated[int, typer.Option(min=20, help="Pairs of CrowS-Pairs at most.")] = 300,
    beside: Annotated[
        str | None, typer.Option(help="Another model or what was tuned, compared with it item by item.")
    ] = None,
    self_debias: DebiasOption = False,
    against: AgainstOption = None,
    decay: DecayOption = 50.0,
    language: LanguageOption = "en",
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """How often the stereotyping side is the likelier one (0.5: no preference), and what mitigation costs."""
    from lavra.cli.console import progress
    from lavra.workspace.biasing import crows_file, likelihoods_of, measure_bias
    from lavra.workspace.decoders import load

    if beside is not None and self_debias:
        raise LavraError("a model is compared with one other: give --beside or --self-debias, not both.")
    how = how_of(against, language, decay) if self_debias else None
    if data is not None:
        crows_file(data)
    here = open_workspace(workspace)
    loaded, other = load(here, model), load(here, beside) if beside is not None else None
    with progress() as report:
        kept, kept_beside = likelihoods_of(here, model), likelihoods_of(here, beside) if beside is not None else None
        found = measure_bias(
            loaded, data=data, limit=limit, how=how, beside=other, kept=kept, kept_beside=kept_beside, progress=report
        )
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    name = model or loaded.name
    print(f"{name}: 0.5 is no preference; of general text less is better.\n")
    heads = ["measure", "items", name if beside else "as it is"]
    if how or beside:
        heads += [beside or "debiased", "change", "p"]
    rows = []
    for one in found:
        row = [one.measure, str(one.before.count), str(one.before)]
        if one.after is not None and one.change is not None:
            change = f"{one.change.mean:+.3f} [{one.change.low:+.3f}, {one.change.high:+.3f}]"
            row += [str(one.after), change, f"{one.change.p:.3f}"]
        rows.append(row)
    print_table(heads, rows)


@bias_app.command()
def stereoset(
    file: Annotated[Path, typer.Argument(help="A file in StereoSet's form: dev.json.")],
    model: ModelArgument = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """StereoSet's three scores, overall and by kind of bias: ss (50 is ideal), lms and icat (100)."""
    from lavra.cli.console import progress
    from lavra.evaluation.bias.stereoset import likelihoods_of, read_stereoset, score_stereoset
    from lavra.evaluation.likelihood import asking_once
    from lavra.workspace import biasing
    from lavra.workspace.decoders import load

    items = read_stereoset(file)
    here = open_workspace(workspace)
    loaded = load(here, model)
    with progress() as report:
        ask = asking_once(biasing.likelihoods_of(here, model), lambda count: report("Reading", count, 0))
        found = likelihoods_of(loaded.model, loaded.tokenizer, items, ask=ask)
    kinds = ["all", *dict.fromkeys(item.kind for item in items)]
    scores = {}
    for kind in kinds:
        chosen = [number for number, item in enumerate(items) if kind in ("all", item.kind)]
        scores[kind] = score_stereoset([items[number].target for number in chosen], found[chosen])
    if as_json:
        print(json.dumps({kind: asdict(score) for kind, score in scores.items()}, indent=1))
        return
    rows = [[kind, str(s.ss.count), *(_percent(one) for one in (s.ss, s.lms, s.icat))] for kind, s in scores.items()]
    print_table(["kind", "items", "ss", "lms", "icat"], rows)


@bias_app.command()
def write(
    model: ModelArgument = None,
    prompts: Annotated[Path | None, typer.Option(help="Pairs of prompts of your own (JSON lines).")] = None,
    bold: Annotated[Path | None, typer.Option(help="The directory of BOLD's prompts instead.")] = None,
    holistic: Annotated[Path | None, typer.Option(help="The directory of HolisticBias' lists instead.")] = None,
    limit: Annotated[int, typer.Option(min=2, help="Of these, prompts of a group at most.")] = 20,
    classifier: Annotated[
        str | None, typer.Option(help="A classifier of texts (lavra tune --task classify) in place of a list of words.")
    ] = None,
    language: LanguageOption = "en",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a continuation.")] = 24,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    times: Annotated[int, typer.Option(min=1, help="Continuations of each prompt; they count as their mean.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    self_debias: DebiasOption = False,
    against: AgainstOption = None,
    decay: DecayOption = 50.0,
    out: Annotated[Path | None, typer.Option(help="Write every continuation into this file (JSON lines).")] = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Let a model go on from prompts that differ in the group alone, and compare what it writes.

    The same command again continues one that was stopped.
    """
    from lavra.cli.console import progress
    from lavra.evaluation.bias.generations import compare
    from lavra.workspace.biasing import classifying, kept_of, write_about
    from lavra.workspace.decoders import load

    asked = _prompts(prompts, bold, holistic, limit, language)
    here = open_workspace(workspace)
    classify = classifying(here, classifier) if classifier else None
    loaded = load(here, model)
    how = how_of(against, language, decay) if self_debias else None
    given: dict[str, Any] = {"tokens": tokens, "temperature": temperature, "seed": seed, "times": times}
    given |= {"classify": classify, "kept": kept_of(here, model)}
    with progress() as report:
        written = {"as it is": write_about(loaded, asked, **given, progress=report)}
        if how is not None:
            written["debiased"] = write_about(loaded, asked, **given, how=how, progress=report)
    compared = {name: compare(some) for name, some in written.items()}
    if out:
        lines = [
            {"model": name, **asdict(one.prompt), "written": one.text, **one.values}
            for name, some in written.items()
            for one in some
        ]
        out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    if as_json:
        print(json.dumps({name: [asdict(one) for one in some] for name, some in compared.items()}, indent=1))
        return
    for name, some in compared.items():
        print(f"\n{loaded.name}, {name}: {len(written[name])} continuations\n")
        _show_compared(some)


@bias_app.command()
def augment(
    file: Annotated[Path, typer.Argument(help="Training data: JSON lines, CSV, TSV, or text, one a line.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; FILE-both-genders beside it.")] = None,
    language: Annotated[str, typer.Option(help="en, pt, or auto: each text's own.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
) -> None:
    """Double training data: behind each row the same with the gender of its people exchanged."""
    from lavra.evaluation.bias.augmenting import augment as double
    from lavra.store.files import write_atomically

    if language not in ("auto", "en", "pt"):
        raise LavraError(f"the language is {language!r}: write en, pt or auto.")
    target = out or file.with_name(f"{file.stem}-both-genders{file.suffix}")
    if target.exists() and not overwrite:
        raise LavraError(f"{target} is there: give another --out, or --overwrite.")
    made = double(file, language)
    write_atomically(target, made.text.encode())
    print(f"{made.rows} rows in {target}, {made.added} of them with the gender of their people exchanged.")
    print("Read some of them: it is done by rules, and names of persons stay as they are.")


def how_of(against: list[str] | None, language: str, decay: float) -> Debiasing:
    from lavra.inference.self_debias import Debiasing

    return Debiasing(tuple(against or ()), language, decay)


def _prompts(own: Path | None, bold: Path | None, holistic: Path | None, limit: int, language: str) -> list[Prompt]:
    from lavra.evaluation.bias import generations

    if sum(one is not None for one in (own, bold, holistic)) > 1:
        raise LavraError("prompts come from one place: give --prompts, --bold or --holistic.")
    if own is not None:
        return generations.read_prompts(own)
    if bold is not None:
        return generations.bold_prompts(bold, limit)
    if holistic is not None:
        return generations.holistic_prompts(holistic, limit)
    if language not in ("en", "pt"):
        raise LavraError(f"there are prompts in en and pt, not in {language!r}: give your own with --prompts.")
    return generations.counterfactual_prompts((language,))


def _show_compared(found: Sequence[Compared]) -> None:
    rows = []
    for one in found:
        groups = " · ".join(f"{group} {interval}" for group, interval in one.groups.items())
        change = ""
        if one.difference is not None:
            low, high = one.difference.low, one.difference.high
            change = f"{one.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append(
            [one.kind, one.measure, groups, change, f"{one.p:.3f}" if change else "", "≠" if one.differs else ""]
        )
    print_table(["kind", "measure", "groups", "difference", "p", ""], rows)
    print("p is corrected for all comparisons (Holm); ≠: the groups differ.")


def _percent(one: Any) -> str:
    return f"{one.mean:.1f} [{one.low:.1f}, {one.high:.1f}]"
