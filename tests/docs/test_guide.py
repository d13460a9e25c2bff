"""The guide tells the truth as far as a machine can see: pages, settings, commands, options, messages and links."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from lavra.cli.commands import app
from lavra.corpus.settings import DEFAULT_MEGABYTES
from lavra.model.known import KNOWN
from lavra.workspace.settings import Settings

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*/*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *PAGES]
LANGUAGES = ("en", "pt")

named = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
in_each_language = pytest.mark.parametrize("language", LANGUAGES)


def code(text: str) -> list[str]:
    """Code spans, and lines of code blocks that are no program's output."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    lines = [line.split("#")[0] for kind, block in blocks if not kind for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def test_both_languages_have_the_same_pages():
    pages = [{path.name for path in (GUIDE / language).glob("*.md")} for language in LANGUAGES]
    assert pages[0] == pages[1]


def test_each_page_has_one_example_question():
    questions = json.loads(files("lavra.workspace").joinpath("manual.json").read_text(encoding="utf-8"))
    assert sorted(questions) == [f"{page.parent.name}/{page.name}" for page in PAGES]
    assert all(question.endswith("?") for question in questions.values())


@named
def test_translations_have_as_many_sections(page: Path):
    other = GUIDE / ("pt" if page.parent.name == "en" else "en") / page.name
    count = [len(re.findall(r"^## ", path.read_text(encoding="utf-8"), re.M)) for path in (page, other)]
    assert count[0] == count[1]


@named
def test_a_section_begins_with_prose(page: Path):
    """The first sentence of a section is what the assistant quotes: it may not be a table, a list or code."""
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
        first = section.split("\n", 2)[2].lstrip("\n")
        assert re.match(r"[`“]?[.\w]", first), section[:80]


@in_each_language
def test_every_setting_is_explained(language: str):
    text = (GUIDE / language / "settings.md").read_text(encoding="utf-8")
    for table, section in Settings.model_fields.items():
        if not (isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel)):
            assert f"`{table}`" in text
            continue
        assert f"`[{table}]`" in text or f"`[[{table}." in text
        for key in section.annotation.model_fields:
            assert f"`{key}`" in text or f"{table}.{key}]]" in text, f"{table}.{key}"


@in_each_language
def test_defaults_of_the_answers_are_the_codes(language: str):
    text = (GUIDE / language / "settings.md").read_text(encoding="utf-8")
    for key, value in Settings().answer.model_dump().items():
        if value is not None:
            shown = f'`"{value}"`' if isinstance(value, str) else str(value)
            assert re.search(rf"^\| `{key}` \|.*\| {re.escape(shown)} \|$", text, re.M), key


@in_each_language
def test_every_known_model_is_listed(language: str):
    text = (GUIDE / language / "models.md").read_text(encoding="utf-8")
    for model in KNOWN.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{model.name}`"))
        assert f"{model.size / 1e6:.0f} MB" in row
        assert model.licence in row


@in_each_language
def test_size_limits_are_the_codes(language: str):
    text = (GUIDE / language / "documents.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert f"{DEFAULT_MEGABYTES['pdf']} MB" in rows["PDF, PPTX"]
    assert f"{DEFAULT_MEGABYTES['docx']} MB" in rows["DOCX, XLSX, ODT, EPUB"]
    assert f"{DEFAULT_MEGABYTES['html']} MB" in next(rows[name] for name in rows if name.startswith("HTML, Markdown"))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path):
    root = get_command(app)
    for span in code(page.read_text(encoding="utf-8")):
        for words in re.findall(r"(?:^|\s)lavra((?:[ \n]+[^\s|&]+)+)", span):
            command, options = root, []
            for word in words.split():
                if word.startswith("-") and word != "-":
                    options.append((command, word.split("=")[0].rstrip(",")))
                elif word in getattr(command, "commands", {}):
                    command = command.commands[word]
                elif command is root and word.isascii() and word.islower() and word.isalpha():
                    pytest.fail(f"there is no command `lavra {word}`")
            for owner, option in options:
                known = {name for p in owner.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
                assert option in known, f"`lavra {words.strip()}`"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", text):  # pictures are made by the browser tests
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), target


@in_each_language
def test_messages_in_troubleshooting_are_in_the_code(language: str):
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # sentences that go over several lines of code
    text = (GUIDE / language / "troubleshooting.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^## (“.+)$", text, re.M):
        for message in re.findall(r"“(.+?)”", heading):
            for part in re.split(r"\s*'?…'?\s*", message):
                assert part.strip(" ,") in source, message


def test_architecture_names_files_that_exist():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "lavra"
    for name in re.findall(r"`([a-z_]+/[a-z_]+(?:\.py|/))`", text):
        assert (package / name).exists(), name
