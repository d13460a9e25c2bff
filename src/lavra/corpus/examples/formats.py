"""What a row is, told by its fields: the formats that instruction sets come in, each brought to the same few kinds.

- *messages* (OpenAI): ``messages`` of ``role`` and ``content``, ``tools`` beside them.
- *ShareGPT*: ``conversations`` of ``from`` (human, gpt) and ``value``.
- *Alpaca*: ``instruction``, ``input``, ``output`` (Taori et al. 2023).
- *Self-Instruct*: ``instruction`` with several ``instances`` of ``input`` and ``output`` (Wang et al. 2023).
- *pairs*: ``prompt`` and ``completion``, ``question`` and ``answer``, and their like.
- *text*: ``text`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lavra.corpus.examples.example import Conversation, Example, Pair, Text

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "answer"),
    ("query", "response"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("input", "output"),
    ("input", "target"),
    ("pergunta", "resposta"),
    ("pregunta", "respuesta"),
)
"""Fields of a prompt and of what follows it."""
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
ROLES = ("system", "user", "assistant", "tool")


class Refused(ValueError):
    """Why a row is no example, and what to do, in a clause."""


def recognise(row: Mapping[str, Any]) -> str | None:
    """The format's name, or None."""
    if isinstance(row.get("messages"), (list, str)):
        return "messages"
    if isinstance(row.get("conversations", row.get("conversation")), (list, str)):
        return "ShareGPT"
    if "instruction" in row and "instances" in row:
        return "Self-Instruct"
    if "instruction" in row and "output" in row:
        return "Alpaca"
    if "prompt" in row and "completion" in row and isinstance(row["prompt"], list):
        return "messages"
    for prompt, answer in PAIRS:
        if prompt in row and answer in row:
            return f"pairs ({prompt}, {answer})"
    return "text" if "text" in row else None


def convert(row: Mapping[str, Any], form: str, source: str) -> list[Example]:
    """The examples of a row of that format. Raises Refused."""
    if form == "messages":
        given = row["messages"] if "messages" in row else [*row["prompt"], *_listed(row["completion"], "completion")]
        return [_conversation(_listed(given, "messages"), row, source)]
    if form == "ShareGPT":
        given = _listed(row.get("conversations", row.get("conversation")), "conversations")
        return [_conversation(given, row, source)]
    system = _string(row.get("system") or row.get("system_prompt") or "", "system")
    if form == "Self-Instruct":
        found: list[Example] = []
        for instance in _listed(row["instances"], "instances"):
            if not isinstance(instance, Mapping):
                raise Refused("an instance is not an object; write input and output")
            found.append(_pair(row["instruction"], instance.get("input"), instance.get("output"), system, source))
        return found
    if form == "Alpaca":
        return [_pair(row["instruction"], row.get("input"), row["output"], system, source)]
    if form == "text":
        return [Text(_string(row["text"], "text"), source)]
    prompt, answer = form.removeprefix("pairs (").removesuffix(")").split(", ")
    context = row.get("context") if prompt in ("instruction", "question") else None
    return [_pair(row[prompt], context, row[answer], system, source)]


def _pair(instruction: Any, given: Any, answer: Any, system: str, source: str) -> Pair:
    """What an instruction is about follows it after an empty line."""
    prompt = _string(instruction, "the prompt")
    about = _string(given or "", "the input")
    if about.strip():
        prompt = f"{prompt}\n\n{about}"
    return Pair(prompt, _string(answer, "the answer"), source, system)


def _conversation(given: Sequence[Any], row: Mapping[str, Any], source: str) -> Conversation:
    messages = [_message(message) for message in given]
    system = row.get("system") or row.get("system_prompt")
    if system and not (messages and messages[0]["role"] == "system"):
        messages.insert(0, {"role": "system", "content": _string(system, "system")})
    tools = _listed(row.get("tools") or row.get("functions") or [], "tools")
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise Refused("a tool is not an object; write its JSON schema")
    tools = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return Conversation(tuple(messages), source, tuple(tools))


def _message(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise Refused("a message is not an object; write its role and content")
    role = given.get("role", given.get("from"))
    if not isinstance(role, str):
        raise Refused("a message has no role; write system, user, assistant or tool")
    role = _ROLES.get(role.lower(), role.lower())
    if role not in ROLES:
        raise Refused(f"the role {role!r} is unknown; write system, user, assistant or tool")
    calls = given.get("tool_calls")
    content = given.get("content", given.get("value"))
    if isinstance(content, list):
        content = _joined(content)
    if content is None and calls:
        content = ""
    message: dict[str, Any] = {"role": role, "content": _string(content, f"what the {role} says")}
    if calls:
        message["tool_calls"] = [_call(call) for call in _listed(calls, "tool_calls")]
    for name in ("name", "tool_call_id"):
        if isinstance(given.get(name), str):
            message[name] = given[name]
    weight = given.get("weight")
    if weight is not None:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1000:
            raise Refused(f"the weight of a message is {weight!r}; write a number, 0 for one that is not learned")
        message["weight"] = float(weight)
    return message


def _call(given: Any) -> dict[str, Any]:
    """Arguments as an object, which is what templates write out; OpenAI's are a string of JSON."""
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Refused("a tool call has no function name; write {function: {name, arguments}}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise Refused(f"the arguments of the tool call {function['name']} are not JSON; repair them") from error
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return call | ({"id": given["id"]} if isinstance(given.get("id"), str) else {})


def _joined(parts: Sequence[Any]) -> str:
    texts = []
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            raise Refused("a message holds something that is not text; this model reads text only")
        texts.append(part["text"])
    return "".join(texts)


def _listed(value: Any, name: str) -> Sequence[Any]:
    """A list, or a string of JSON that is one: what CSV and some Parquet files hold."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Refused(f"{name} is neither a list nor JSON of one; repair it") from error
    if not isinstance(value, list):
        raise Refused(f"{name} is not a list; write one")
    return value


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"{name} is {_named(value)}, not text; write it as a string")
    return value


def _named(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
