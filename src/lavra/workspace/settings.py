"""``lavra.toml``: typed, validated at the border with one clear sentence, and commented for the person who opens it.

Every value has a default, so an empty file is a valid one. Tests hold the template below to the defaults.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lavra.corpus.document import PUBLIC
from lavra.errors import LavraError
from lavra.serving.settings import ServeSettings

NAME = "lavra.toml"


class Section(BaseModel):
    """A table of ``lavra.toml``: unknown keys are mistakes, not extensions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelsSection(Section):
    """Which models the workspace uses."""

    generator: str = "smollm2-135m"
    embedder: str = "e5-small-enpt"


class DocumentsSection(Section):
    """What is true of documents that state nothing and that no sources file or flag speaks of; and limits of reading.

    A limit that is not set is the one of ``lavra.corpus.settings.ReadSettings``.
    """

    languages: tuple[str, ...] = ("pt", "es", "en")
    licence: str | None = None
    owner: str | None = None
    roles: tuple[str, ...] | None = None
    max_megabytes: int | None = Field(default=None, ge=1)
    max_record_megabytes: int | None = Field(default=None, ge=1)
    max_pages: int | None = Field(default=None, ge=1)
    max_cells: int | None = Field(default=None, ge=1)
    max_unpacked_megabytes: int | None = Field(default=None, ge=1)
    max_text_megabytes: int | None = Field(default=None, ge=1)
    max_members: int | None = Field(default=None, ge=1)
    seconds_per_file: float | None = Field(default=None, gt=0)
    worker_megabytes: int | None = Field(default=None, ge=256)
    workers: int | None = Field(default=None, ge=1)


class CorpusSection(Section):
    """What `lavra corpus clean` does; see ``lavra.corpus.cleaning.settings.Cleaning``, which has the same defaults."""

    stages: tuple[str, ...] = (
        *("licence", "normalise", "language", "quality", "personal", "exact", "near", "contamination", "perplexity"),
    )
    other_languages: Literal["keep", "drop"] = "drop"
    rules: tuple[str, ...] = ("gopher_quality", "gopher_repetition")
    thresholds: dict[str, float] = {}
    classifier: str | None = None
    classifier_threshold: float = Field(default=0.5, ge=0, le=1)
    personal: Literal["replace", "drop", "report"] = "replace"
    personal_kinds: tuple[str, ...] | None = None
    personal_patterns: dict[str, str] = {}
    shingle_words: int = Field(default=5, ge=1)
    bands: int = Field(default=20, ge=1)
    rows: int = Field(default=6, ge=1)
    similarity: float = Field(default=0.8, gt=0, le=1)
    keep: Literal["longest", "newest", "licence"] = "longest"
    paragraph_words: int = Field(default=10, ge=1)
    paragraph_left: float = Field(default=0.3, gt=0, le=1)
    evaluation_sets: dict[str, str] = {}
    overlap: int = Field(default=13, ge=1)
    contaminated: Literal["drop", "flag"] = "drop"
    perplexity_model: str | None = None
    perplexity_tokens: int = Field(default=512, ge=1)
    perplexity_percentiles: tuple[float, float] = (0.0, 100.0)
    perplexity_least: float | None = None
    perplexity_most: float | None = None
    licences: tuple[str, ...] = ("*",)
    unlicensed: Literal["keep", "drop"] = "drop"
    opt_outs: Literal["keep", "drop"] = "drop"
    balance: str | None = None
    balance_alpha: float = Field(default=0.5, ge=0, le=1)


LIMITS = tuple(name for name in DocumentsSection.model_fields if name.startswith(("max_", "worker", "seconds_")))
"""The settings that are limits of reading, by the names of ``ReadSettings``."""


class IndexSection(Section):
    """How documents are cut and found."""

    target: int = Field(default=220, ge=16)
    limit: int = Field(default=400, ge=16, le=500)
    fusion: str | None = None


class SearchSection(Section):
    """How what was found is put in order."""

    reranker: str | None = None
    candidates: int = Field(default=10, ge=2, le=100)
    share: float = Field(default=0.25, gt=0, le=1)


class AnswerSection(Section):
    """How questions are answered."""

    prompt: str = "grounded"
    passages: int = Field(default=4, ge=1, le=50)
    read: int = Field(default=2, ge=1, le=50)
    threshold: float | None = Field(default=None, ge=0, le=1)
    grounding: Literal["strict", "cite"] = "strict"
    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, lt=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=256, ge=1)
    seed: int | None = None


class TuneSection(Section):
    """How every tuning of the workspace is kept from forgetting, and what is measured of it; flags go before."""

    kl: float = Field(default=0.0, ge=0)
    ewc: float = Field(default=0.0, ge=0)
    l2_sp: float = Field(default=0.0, ge=0)
    interpolate: str | None = None
    forget_at_most: float = Field(default=0.01, ge=0, le=1)
    patience: int = Field(default=0, ge=0)
    checks: tuple[str, ...] = ()


class StudySection(Section):
    """What every study of the workspace takes where no flag says otherwise."""

    ways: tuple[str, ...] = ("prompt", "few-shot", "rag", "tune", "tune+rag")
    measure: str = "quality"
    count: int = Field(default=200, ge=10)
    max_tokens: int = Field(default=128, ge=1)
    general: bool = True
    entailment: str | None = None


class TokenPrices(Section):
    """What a model on a server costs, for a million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)


class PricesSection(Section):
    """What energy, this machine and models on servers cost; nothing is told in money where all of it is 0."""

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    energy: float = Field(default=0.0, ge=0)
    machine: float = Field(default=0.0, ge=0)
    watts: float = Field(default=12.0, gt=0)
    country: str = ""
    models: dict[str, TokenPrices] = {}


class Settings(Section):
    """All of ``lavra.toml``."""

    name: str = ""
    models: ModelsSection = ModelsSection()
    documents: DocumentsSection = DocumentsSection()
    corpus: CorpusSection = CorpusSection()
    index: IndexSection = IndexSection()
    search: SearchSection = SearchSection()
    answer: AnswerSection = AnswerSection()
    tune: TuneSection = TuneSection()
    study: StudySection = StudySection()
    prices: PricesSection = PricesSection()
    serve: ServeSettings = ServeSettings()


TEMPLATE = f"""\
# The settings of this workspace. Every line below is a default: remove the leading "# " to change one.
name = {{name}}

[models]
# `lavra models` lists those that are known and those that are here. A path, hf:org/name and pypi:package work too.
# generator = "smollm2-135m"
# embedder = "e5-small-enpt"

[documents]
# languages = ["pt", "es", "en"]   # what language detection chooses from
# licence = "CC-BY-4.0"            # SPDX identifier, for documents that state none
# owner = "Jurídico"
# roles = ["{PUBLIC}"]              # who may read; also settable by file in a lavra-sources.toml beside the documents
# max_megabytes = 64               # the largest file that is read; by format when not set
# max_pages = 10000                # of a PDF or a presentation; these limits are named in the reason of a skipped file
# max_cells = 500000               # kept of a spreadsheet
# max_record_megabytes = 16        # a record of a JSON Lines or CSV file
# max_unpacked_megabytes = 1024    # what an office file may unpack to
# max_text_megabytes = 200         # text of one file
# max_members = 20000              # files inside an office file
# seconds_per_file = 60.0
# worker_megabytes = 2048          # memory of a process that reads files
# workers = 2                      # processes that read PDFs and office files; one a core when not set

[corpus]
# What `lavra corpus clean` does to documents before a model is trained on them.
# stages = ["licence", "normalise", "language", "quality", "personal", "exact", "near", "contamination", "perplexity"]
# Duplicate paragraphs stay unless "paragraphs" is one of the stages.
# licences = ["*"]                 # that may be trained on; "CC-*" stands for all that begin so
# unlicensed = "drop"              # documents that state no licence; or "keep"
# opt_outs = "drop"                # documents whose owner opted out of training; or "keep"
# other_languages = "drop"         # documents in none of [documents] languages; or "keep"
# rules = ["gopher_quality", "gopher_repetition"]              # and "fineweb", "c4": for pages of the web
# thresholds = {{ "gopher_quality.min_alpha_words" = 0.5 }}      # of single rules
# classifier = "quality"           # made by `lavra corpus classifier`; none when not set
# classifier_threshold = 0.5       # probability of being good below which a document is dropped
# personal = "replace"             # personal data; or "drop" the document, or only "report"
# personal_kinds = ["cpf", "email"]                            # all that are known when not set
# personal_patterns = {{ badge = "MAT-[0-9]{{6}}" }}               # your own kinds: regular expressions
# shingle_words = 5                # near-duplicates: words in a row that are compared
# bands = 20
# rows = 6
# similarity = 0.8
# keep = "longest"                 # of near-duplicates; or "newest", "licence"
# paragraph_words = 10             # the stage "paragraphs": those of so many words are looked for in other documents
# paragraph_left = 0.3             # share of a document that has to stay of it
# evaluation_sets = {{ exam = "exam.jsonl" }}                    # documents that hold an item of these are dropped
# overlap = 13                     # words in a row that are shared with an item
# contaminated = "drop"            # or "flag"
# perplexity_model = "smollm2-135m"                            # reads what stays; none when not set
# perplexity_tokens = 512          # that are read of each document
# perplexity_percentiles = [0, 100]                            # of each language that stay, by bits per byte
# perplexity_least = 0.3           # bits per byte below which a document is dropped; no limit when not set
# perplexity_most = 2.5            # and above which
# balance = "languages"            # weights for training; or "dialects", "sources", "licences", "years", "topics"
# balance_alpha = 0.5              # 0 makes the parts equal, 1 leaves them as they are

[index]
# target = 220                     # size of a chunk, in tokens of the embedder
# limit = 400                      # a table or code block may reach this before it is cut
# fusion = "fusion.json"           # written by `lavra index --questions`; the one that comes with Lavra when not set

[search]
# reranker = "reranker"            # a cross-encoder: its artifact's id or name, or a path; nobody when not set
# candidates = 10                  # how many of the best passages it reads
# share = 0.25                     # its part in their order beside the search's; 1 is all of it

[answer]
# prompt = "grounded"              # or a TOML file of your own
# passages = 4                     # passages found: what an answer may cite
# read = 2                         # how many of them the model reads; a larger model takes more
# threshold = 0.5                  # confidence below which it says that it found nothing; measured when not set
# grounding = "strict"             # show only what a source supports; "cite" shows all and cites what is supported
# temperature = 0.0                # 0 is greedy
# top_k = 0
# top_p = 1.0
# min_p = 0.0
# repetition_penalty = 1.0
# max_tokens = 256
# seed = 1

[tune]
# kl = 0.0                         # weight of the divergence from the base's words
# ewc = 0.0                        # weight of the change of weights that matter for the examples of --old
# l2_sp = 0.0                      # weight of the change of all trained weights
# interpolate = "auto"             # go back towards the base as far as forgetting asks; "curve" only measures it
# forget_at_most = 0.01            # what that may lose of general text, as a share
# patience = 0                     # evaluations without a lower held-out loss before a run stops; 0: any number
# checks = ["checks.py:bias"]      # functions that measure each model before and after; their code is run

[study]
# ways = ["prompt", "few-shot", "rag", "tune", "tune+rag"]
# measure = "quality"              # what ways are compared by; or token_f1, exact_match, rouge_l, chrf, similarity
# count = 200                      # questions that are made where none are given
# max_tokens = 128                 # longest answer, the same for all ways
# general = true                   # measure what tuning left of general ability, bias, what was learned by heart
# entailment = "entailment"        # a reranker tuned on entailment decides what is grounded; words when not set

[prices]
# currency = "EUR"
# energy = 0.0                     # of a kilowatt-hour
# machine = 0.0                    # of an hour of this machine
# watts = 12.0                     # of a busy core, where the machine does not measure its energy
# country = "BR"                   # whose electricity, for CO2
# models = {{ "large-model" = {{ input = 2.5, output = 10.0 }} }}   # of a server, for a million tokens

[serve]
# host = "127.0.0.1"
# port = 8000
# title = "Lavra"
# roles = ["{PUBLIC}"]              # of everybody, as long as there are no keys (`lavra keys add`)
# uploads = true
# queue = 16                       # answers that may wait
"""


def template(name: str) -> str:
    """The text of a new ``lavra.toml``."""
    import json

    return TEMPLATE.replace("{name}", json.dumps(name, ensure_ascii=False))


def load_settings(path: Path) -> Settings:
    """Read and validate ``lavra.toml``.

    Raises:
        LavraError: naming the file, the key and what is wrong with it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LavraError(f"{path} is not valid TOML: {error}.") from error
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise LavraError(f"{path}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """The first problem of a validation, as one sentence that names the key."""
    first: Any = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(first["loc"][-1]), _settings_beside(first["loc"]), 1)
        meant = f"did you mean {near[0]!r}?" if near else "the comments of a new workspace's lavra.toml list them all."
        return f"there is no setting {key!r}; {meant}"
    if first["type"] == "missing":
        return f"{key!r} is missing."
    said = first["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    return f"{key!r} is {first['input']!r}, which cannot be: {said[:1].lower()}{said[1:]}."


def _settings_beside(place: tuple[Any, ...]) -> list[str]:
    """The settings that could stand where this key stands."""
    section: Any = Settings
    for part in place[:-1]:
        fields = getattr(section, "model_fields", {})
        section = fields[part].annotation if part in fields else None
    return list(getattr(section, "model_fields", {}))
