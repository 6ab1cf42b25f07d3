"""Chats: what is learnt of them, by a chat template and in plain text."""

import pytest
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.encode import Encoder, collate
from trimwave.lm.data.layouts import find_layout
from trimwave.lm.data.rows import Lack, Row

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THOUGHTS = (  # as Qwen 3: only the last turn has its thoughts
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
REFUSES = "{{ raise_exception('no system role') }}"
FORGETS = "{{ messages[-1]['content'] }}"

TURNS = [("system", "be"), ("user", "1?"), ("assistant", "one"), ("user", "2?")]
TURNS += [("assistant", "two"), ("user", "bye")]


def messages(*turns, names=("role", "content")):
    return [dict(zip(names, turn, strict=True)) for turn in turns]


def row_of(record):
    return find_layout(record, "x").row(record, "line 1")


def marked(record, chat_template=None, template="auto", **limits):
    """Return a row's text, what is learnt of it in brackets."""
    tokenizer = byte_tokenizer(frame="<bos> $A")
    tokenizer.chat_template = chat_template
    encoder = Encoder(tokenizer, **{"max_tokens": 900, **limits}, template=template)
    (item,) = encoder.encode({"train": [row_of(record)]})["train"]
    labels = collate([item], 0).labels[0].tolist()
    text, at = "", 0
    for start, end in item.spans:
        start = max(start, 1)  # nothing comes before the first token
        assert labels[start:end] == item.input_ids[start:end].tolist()
        assert set(labels[at:start]) <= {-100}
        text += tokenizer.decode(item.input_ids[at:start])
        text += f"[{tokenizer.decode(item.input_ids[start:end])}]"
        at = end
    return text + tokenizer.decode(item.input_ids[at:])


@pytest.mark.parametrize(
    ("chat_template", "text"),
    [
        (
            None,
            "<bos>System: be\nUser: 1?\nAssistant:[ one<eos>]\nUser: 2?\n"
            "Assistant:[ two<eos>]",
        ),
        (
            CHATML,
            "<|system|>be<eos>\n<|user|>1?<eos>\n<|assistant|>[one<eos>]\n"
            "<|user|>2?<eos>\n<|assistant|>[two<eos>]",
        ),
        (
            THOUGHTS,
            "<|system|>be<eos>\n<|user|>1?<eos>\n<|assistant|>[one<eos>]\n"
            "<|user|>2?<eos>\n<|assistant|>[<think></think>two<eos>]",
        ),
        (WORDS, "be 1? [one ]2? [two <eos>]"),  # nothing ends a turn: added at the end
    ],
)
def test_every_turn_of_the_assistant_is_learnt_and_nothing_else(chat_template, text):
    assert marked({"messages": messages(*TURNS)}, chat_template) == text


def test_all_forms_of_one_chat_are_one_chat():
    want = marked({"messages": messages(*TURNS)}, CHATML)
    human = {"user": "human", "assistant": "gpt", "system": "system"}
    shared = messages(*((human[r], t) for r, t in TURNS), names=("from", "value"))
    parts = [(role, [{"type": "text", "text": text}]) for role, text in TURNS]
    for record in (
        {"conversations": shared},
        {"conversations": shared[1:], "system": "be"},
        {"messages": messages(*parts)},
        {"instruction": "2?", "output": "two", "history": [["1?", "one"]]}
        | {"system": "be"},
    ):
        assert marked(record, CHATML) == want


def test_of_prompt_and_completion_the_completion_is_learnt():
    record = {"prompt": messages(*TURNS[:4]), "completion": messages(TURNS[4])}
    assert marked(record, CHATML).endswith(
        "one<eos>\n<|user|>2?<eos>\n<|assistant|>[two<eos>]"
    )
    silent = [{**one, "weight": 0} for one in messages(*TURNS[:3])]
    record = {"messages": silent + messages(*TURNS[3:])}
    assert marked(record, CHATML).count("[") == 1
    assert marked({"prompt": "say", "completion": "so"}, CHATML) == (
        "<bos>say[ so<eos>]"
    )


def test_the_template_goes_by_the_key():
    chat = {"messages": messages(*TURNS)}
    question = {"question": "q", "answer": "a", "context": "c"}
    assert marked(chat, CHATML, "plain") == marked(chat)
    assert marked(question, CHATML) == marked(question)
    assert (
        marked(question, CHATML, "chat") == "<|user|>c\n\nq<eos>\n<|assistant|>[a<eos>]"
    )
    with pytest.raises(InputError, match="no chat template; set `data.template`"):
        marked(chat, None, "chat")
    with pytest.raises(InputError, match="text without a prompt"):
        marked({"text": "t"}, CHATML, "chat")


@pytest.mark.parametrize(
    ("chat_template", "said"),
    [
        (REFUSES, "does not take line 1 .*no system role.*`data.template` to `plain`"),
        (FORGETS, "writes line 1 in another way .* turn 3"),
    ],
)
def test_a_template_that_cannot_be_used_says_so(chat_template, said):
    with pytest.raises(InputError, match=said):
        marked({"messages": messages(*TURNS)}, chat_template)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hello", "must be a list of messages"),
        ([1], "message 1 of `messages` of line 1 must have `role`"),
        (messages(("user", "a"), ("assistent", "b")), "message 2 .*did you mean"),
        (messages(("tool", "a")), "tools are not supported"),
        (messages(("user", [{"type": "image_url", "url": "x"}])), "no text .image_url"),
        (messages(("user", {"a": 1})), "must be text"),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}],
            "message 1 .*calls a tool .`tool_calls`",
        ),
        ([{"role": "assistant", "content": "a", "weight": 0.5}], "`weight` 0.5"),
        (
            [{"role": "assistant", "content": "a", "weight": "0"}],
            "`weight` '0'; give 0",
        ),
    ],
)
def test_what_is_no_chat_is_refused_by_its_message(value, said):
    with pytest.raises(InputError, match=said):
        row_of({"messages": value})


@pytest.mark.parametrize(
    ("value", "lack"),
    [
        (None, Lack.NULL),
        ([], Lack.BLANK),
        (messages(("user", "a")), Lack.NO_ANSWER),
        (messages(("user", "a"), ("assistant", " ")), Lack.NO_ANSWER),
        (messages(("assistant", "a")), Lack.BLANK),
    ],
)
def test_a_chat_without_question_or_answer_is_passed_over(value, lack):
    assert row_of({"messages": value}) is lack


def test_what_nothing_asks_for_is_not_learnt_by_any_template():
    greeted = messages(("assistant", "hello"), ("user", "1?"), ("assistant", "one"))
    for chat_template in (None, CHATML):
        text = marked({"messages": greeted}, chat_template)
        assert text.count("[") == 1
        assert "hello" in text.split("[")[0]


def test_empty_columns_of_calls_and_weights_change_nothing():
    plain = messages(*TURNS)
    # As Parquet has them: a column that one message has, all have.
    empty = {"tool_calls": None, "function_call": None, "weight": float("nan")}
    padded = [{**message, **empty} for message in plain]
    assert row_of({"messages": padded}).turns == row_of({"messages": plain}).turns


def test_a_chat_is_cut_at_its_beginning_and_then_at_its_end():
    record = {"messages": messages(*TURNS)}
    whole = marked(record, CHATML)
    length = len(byte_tokenizer()(whole.replace("[", "").replace("]", ""))["input_ids"])
    with pytest.warns(UserWarning, match="truncated"):
        text = marked(record, CHATML, max_tokens=length - 5, too_long="truncate")
    assert whole.endswith(text) and text.count("[") == 2
    with pytest.warns(UserWarning, match="truncated"):
        text = marked(record, CHATML, max_tokens=4, too_long="truncate")
    assert text == "o[ne<eos>]"


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (
            {"context": "c", "question": "q", "answer": "a"},
            Row("Context: c\nQuestion: q\nAnswer:", "a"),
        ),
        (
            {"context": " ", "question": "q", "answers": {"text": ["a", "b"]}},
            Row("Question: q\nAnswer:", "a"),
        ),
        ({"question": "q", "answers": {"text": []}}, Lack.NO_ANSWER),
        ({"question": "q", "answer": ["", "b"]}, Row("Question: q\nAnswer:", "b")),
        (
            {"instruction": "i", "context": "c", "response": "r", "category": "k"},
            Row("Context: c\nQuestion: i\nAnswer:", "r", "k"),
        ),
    ],
)
def test_questions_with_a_context_and_with_several_answers(record, row):
    assert row_of(record) == row
