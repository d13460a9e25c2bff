"""What a way is: a recipe that ends in something that answers; and what it is given to work with.

A way of one's own is a function of a :class:`Given`::

    def shouting(given):
        return MyAssistant(given.engine, given.settings)

It returns whatever has ``answer(messages, roles=...)`` as in ``lavra.assistants.events``, or a :class:`Built`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.assistants.events import Answering
from lavra.store import Artifact
from lavra.store.energy import Cost
from lavra.workspace.studying.desk import Desk
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.assistants.prompted import Prompted
    from lavra.assistants.questions.items import Item
    from lavra.assistants.voices import Voice
    from lavra.inference.engine import Engine
    from lavra.inference.sampling import Sampling
    from lavra.training.callbacks import Callback
    from lavra.workspace.studying.grid import Candidate


@dataclass(frozen=True)
class Given:
    """What a way is given. ``model``: the reference of the one that it is tried over; ``desk``: the workspace, and what
    all ways share of it."""

    desk: Desk
    model: str
    settings: Mapping[str, Any]
    training: Sequence[Item] = ()
    """Questions to learn from: none of them, nor of their documents', is asked later."""
    held: frozenset[str] = frozenset()
    """Documents whose questions are asked later: nothing of them is shown in training."""
    roles: frozenset[str] = frozenset({"public"})
    folder: Path = Path()
    """For files that the way writes."""
    sampling: Sampling | None = None
    """How every way of the study writes."""
    progress: Progress = silent
    say: Callable[[str], None] = lambda text: None
    callbacks: Sequence[Callback] = ()
    """Of whatever is trained."""

    @property
    def workspace(self) -> Workspace:
        """The workspace with the model as its generator."""
        return self.desk.over(self.model)

    @property
    def engine(self) -> Engine:
        """The model, loaded."""
        return self.desk.engine(self.model)

    def over(self, reference: str) -> Given:
        """The same over another model, or over what was tuned."""
        return replace(self, model=reference)

    def to(self, candidate: Candidate) -> Given:
        """The same for one of the study's candidates."""
        folder = self.folder / candidate.name.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return replace(self, model=candidate.model or self.model, settings=candidate.settings, folder=folder)

    def language(self, text: str) -> str:
        """A question's, of those the workspace knows."""
        from lavra.corpus.language import detect_language

        return detect_language(text, self.workspace.settings.documents.languages, min_letters=4)

    def prompted(self, voice: Voice, examples: Any = None) -> Prompted:
        """An assistant that asks ``voice`` without documents."""
        from lavra.assistants.prompted import Prompted, direct

        assert self.sampling is not None
        name, more = self.workspace.name, {"examples": examples} if examples else {}
        return Prompted(name, voice, direct(), self.sampling, language=self.language, **more)


@dataclass(frozen=True)
class Built:
    """A way that is ready to answer. Nothing heavy is loaded before ``load`` is called."""

    load: Callable[[], Answering]
    recipe: Mapping[str, Any]
    """All that its answers depend on, as plain JSON: answers that were given before under the same one are reused."""
    artifacts: Sequence[Artifact] = ()
    """What was made for it alone."""
    uses: Mapping[str, str] = field(default_factory=dict)
    """Other artifacts behind it, by role: the pedigree."""
    counts: Callable[[], Mapping[str, int]] = dict
    """What a server did: requests, rate limits, timeouts."""

    @cached_property
    def cost(self) -> Cost:
        """Of making it, whenever that was."""
        costs = [artifact.manifest.cost for artifact in self.artifacts]
        joules = [cost.energy_joules for cost in costs if cost.energy_joules is not None]
        gpus = [cost.gpu_joules for cost in costs if cost.gpu_joules is not None]
        return Cost(
            sum(cost.seconds for cost in costs),
            sum(cost.cpu_seconds for cost in costs),
            sum(joules) if joules and len(joules) == len(costs) else None,
            sum(gpus) if gpus else None,
        )


@dataclass(frozen=True)
class Way:
    """``rank``: how costly it is to make, of those that come with Lavra; ``learns``: from training questions;
    ``over_models``: it is tried over every model of the study; ``version`` changes with a user's file."""

    name: str
    build: Callable[[Given], Built]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rank: int = 0
    learns: bool = False
    over_models: bool = True
    reads: bool = False
    """It looks in the index."""
    version: str = ""
    open_settings: bool = False
    """It takes settings of any name."""
