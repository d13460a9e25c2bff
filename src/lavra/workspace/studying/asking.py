"""Ways without documents: a prompt, a prompt with examples, and the same prompt for somebody else's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.workspace.studying.way import Built, Given

if TYPE_CHECKING:
    from lavra.assistants.prompted import Examples
    from lavra.assistants.questions.items import Item
    from lavra.inference.embedder import Embedder


def prompt(given: Given) -> Built:
    """The model as it is, asked by a prompt."""
    from lavra.assistants.voices import Local

    return Built(
        lambda: given.prompted(Local(given.engine)),
        {"way": "prompt", **asked(given)},
        uses={"model": model_artifact(given)},
    )


def few_shot(given: Given) -> Built:
    """The same with the training questions that are nearest to the question, and their answers, as examples."""
    from lavra.assistants.voices import Local

    if not given.training:
        raise LavraError("few-shot needs questions to show as examples: give some that are not tested.")
    count = int(given.settings["examples"])

    def load() -> Any:
        examples = nearest(given.training, given.desk.embedder, count, given)
        return given.prompted(Local(given.engine), examples)

    return Built(
        load,
        {"way": "few-shot", "examples": count, "training": training_digest(given.training), **asked(given)},
        uses={"model": model_artifact(given)},
    )


def external(given: Given) -> Built:
    """A model behind an endpoint of the OpenAI protocol, asked by the same prompt; it receives the questions."""
    from lavra.assistants.prompted import direct
    from lavra.assistants.server import Server
    from lavra.assistants.voices import Remote

    url, model = given.settings["url"], given.settings["model"]
    server = Server(str(url), key_env=given.settings["key_env"] or None)
    return Built(
        lambda: given.prompted(Remote(server, str(model))),
        {"way": "external", "url": server.url, "model": model, "prompt": direct().hash, **_sampling(given)},
        counts=lambda: dict(server.counts),
    )


def nearest(training: Sequence[Item], embedder: Embedder, count: int, given: Given) -> Examples:
    """For a question, the ``count`` nearest training questions by embedding, the nearest last, with their answers."""
    texts = [item.question for item in training]
    vectors_ND = embedder.queries(texts)

    def examples(question: str) -> list[tuple[str, str]]:
        likeness_N = vectors_ND @ embedder.queries([question])[0]
        order = likeness_N.argsort(kind="stable")[::-1][:count]
        return [(texts[number], answer_of(training[number], given)) for number in reversed(order.tolist())]

    return examples


def answer_of(item: Item, given: Given) -> str:
    """What is right to say: the answer, or the refusal of the prompt without documents."""
    from lavra.assistants.prompted import direct

    return item.answer if item.answerable else direct().refusal(direct().language(item.language))


def asked(given: Given) -> Mapping[str, Any]:
    """What the answers of a model here depend on, asked by the prompt without documents."""
    from lavra.assistants.prompted import direct

    generator = given.workspace.generator
    tuned = {"tuned": generator.artifact.id} if generator.artifact is not None else {}
    return {"model": generator.model.sha256, **tuned, "prompt": direct().hash, **_sampling(given)}


def model_artifact(given: Given) -> str:
    """The id of the model's card, or of what was tuned."""
    generator = given.workspace.generator
    return (generator.artifact or given.workspace._model_artifact(generator.model)).id


def training_digest(training: Sequence[Item]) -> str:
    """Changes with the questions that are learned from."""
    from lavra.store.files import digest

    return digest([item.row() for item in training])[:16]


def _sampling(given: Given) -> dict[str, Any]:
    assert given.sampling is not None
    return {"sampling": asdict(given.sampling)}
