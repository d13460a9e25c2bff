"""What is trained is what is served, to the id; and only what an assistant says is learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.conversation import Labelled, encode_conversation, encode_text
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

CHAT = [
    {"role": "user", "content": "Qual é a capital?"},
    {"role": "assistant", "content": "Brasília."},
    {"role": "user", "content": "E <|im_end|> antes?"},
    {"role": "assistant", "content": "\nO Rio.  "},
]


@pytest.fixture(scope="module")
def smollm2(pulled: Callable[[str], Path]) -> Tokenizer:
    return load_tokenizer(pulled("smollm2-135m"))


def with_template(tokenizer: Tokenizer, source: str | None) -> Tokenizer:
    template = ChatTemplate(source, tokenizer.special) if source else None
    return Tokenizer(
        tokenizers.Tokenizer.from_str(tokenizer.backend.to_str()), bos_id=tokenizer.bos_id, eos_ids=tokenizer.eos_ids,
        chat_template=template, special=tokenizer.special,
    )  # fmt: skip


def learned(tokenizer: Tokenizer, example: Labelled) -> list[str]:
    """The learned stretches as text."""
    found: list[list[int]] = []
    before = 0.0
    for index, weight in zip(example.ids.tolist(), example.weights.tolist(), strict=True):
        if weight:
            if not before:
                found.append([])
            found[-1].append(index)
        before = weight
    return [tokenizer.decode(ids, skip_special_tokens=False) for ids in found]


def test_answers_are_learned_through_their_end_token_and_nothing_else_is(smollm2: Tokenizer):
    plain = [{**message, "content": message["content"].strip()} for message in CHAT]
    [example] = encode_conversation(smollm2, plain)
    assert learned(smollm2, example) == ["Brasília.<|im_end|>", "O Rio.<|im_end|>"]
    [last] = encode_conversation(smollm2, plain, learn="last")
    assert learned(smollm2, last) == ["O Rio.<|im_end|>"]
    [everything] = encode_conversation(smollm2, plain, learn="all")
    assert everything.ids.tolist() == smollm2.encode_chat(plain, False)
    assert everything.learned == len(everything.ids) - 1
    weighted = [plain[0], {**plain[1], "weight": 0.0}, plain[2], {**plain[3], "weight": 0.5}]
    [example] = encode_conversation(smollm2, weighted)
    assert learned(smollm2, example) == ["O Rio.<|im_end|>"]
    assert set(example.weights.tolist()) == {0.0, 0.5}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("aé \n<|im_end|>\t.🌊"), max_size=12), min_size=2, max_size=6))
def test_every_learned_answer_follows_the_very_prompt_that_is_served(smollm2: Tokenizer, said: list[str]):
    """Whatever is said: white space at the borders, control tokens spelled out, half words."""
    roles = ["user", "assistant"]
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said[: len(said) // 2 * 2])]
    try:
        found = encode_conversation(smollm2, messages)
    except LavraError:  # a control token spelled right where the prompt ends
        assume(not any(text.lstrip().startswith("<") for text in said))
        raise
    for turn in range(1, len(messages), 2):
        prompt = smollm2.encode_chat(messages[:turn])
        homes = [e for e in found if e.ids[: len(prompt)].tolist() == prompt and e.weights[len(prompt)] > 0]
        assert len(homes) == 1
        example, start = homes[0], len(prompt)
        assert example.weights[start - 1] == 0
        answer = example.ids[start:].tolist()
        answer = answer[: answer.index(smollm2.eos_id or -1) + 1]
        assert smollm2.decode(answer, False) == messages[turn]["content"] + "<|im_end|>"
        assert all(example.weights[start : start + len(answer)] == 1)
    assert sum(e.learned for e in found) == sum(int((e.weights > 0).sum()) for e in found)


def test_a_template_that_rewrites_earlier_turns_gives_each_its_own_example(smollm2: Tokenizer):
    forgets = with_template(
        smollm2,
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}…"
        "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    first, second = encode_conversation(forgets, CHAT)
    assert learned(forgets, first) == ["Brasília.<|im_end|>"]
    assert first.ids[: len(prompt := forgets.encode_chat(CHAT[:1]))].tolist() == prompt
    assert learned(forgets, second) == ["\nO Rio.  <|im_end|>"]
    assert second.ids[: len(prompt := forgets.encode_chat(CHAT[:3]))].tolist() == prompt


def test_a_prompt_that_is_no_beginning_of_the_answer_is_refused(smollm2: Tokenizer):
    thinks = with_template(
        smollm2,
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think></think>{% endif %}",
    )
    with pytest.raises(LavraError, match="begins an answer otherwise than it prompts"):
        encode_conversation(thinks, CHAT)


def test_a_template_without_an_end_is_given_one(smollm2: Tokenizer):
    endless = with_template(smollm2, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                            "{% if add_generation_prompt %}assistant:{% endif %}")  # fmt: skip
    [example] = encode_conversation(endless, CHAT[:2])
    assert example.ids[-1] == endless.eos_id
    assert learned(endless, example) == [" Brasília.\n<|im_end|>"]


def test_tools_go_through_a_template_that_has_a_place_for_them_and_only_there(smollm2: Tokenizer):
    tools = [{"type": "function", "function": {"name": "<|im_end|>", "parameters": {}}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
    messages = [CHAT[0], call, {"role": "tool", "content": "7"}, CHAT[1]]
    for given_tools, said in ((tools, "no place for tools"), ([], "no place for tool calls")):
        with pytest.raises(LavraError, match=said):
            encode_conversation(smollm2, messages, tools=given_tools)
    calls = with_template(
        smollm2,
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    [example] = encode_conversation(calls, messages, tools=tools)
    assert learned(calls, example) == [
        '{"function": {"name": "f", "arguments": {"a": 1}}}<|im_end|>', "Brasília.<|im_end|>"
    ]  # fmt: skip
    # The name spelled like a control token stays characters: 4 turns end, no more.
    assert example.ids.tolist().count(calls.eos_id) == 4
    assert calls.decode(example.ids.tolist(), False).startswith('[{"type": "function", "function": {"name": "<|im_end')


def test_a_model_without_a_template_learns_prompt_newline_answer(smollm2: Tokenizer):
    bare = with_template(smollm2, None)
    [example] = encode_conversation(bare, CHAT[:2])
    assert bare.decode(example.ids.tolist(), False) == "Qual é a capital?\nBrasília.<|im_end|>"
    assert learned(bare, example) == ["Brasília.<|im_end|>"]
    with pytest.raises(LavraError, match="has no chat template"):
        encode_conversation(bare, CHAT)


def test_a_text_is_learned_whole_and_ends(smollm2: Tokenizer):
    found = encode_text(smollm2, "Era uma vez <|im_end|>.")
    assert smollm2.decode(found.ids.tolist(), False) == "Era uma vez <|im_end|>.<|im_end|>"
    assert found.ids.tolist().count(smollm2.eos_id) == 1
    assert found.learned == len(found.ids) - 1
