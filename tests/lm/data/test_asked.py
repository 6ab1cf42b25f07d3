import warnings

import pytest
from tokenizer import BOS, byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.asked import asked_of
from trimwave.lm.data.encode import Encoder
from trimwave.lm.data.rows import Row, Turn
from trimwave.recipe.config import Config, DataConfig, MetricsConfig

SUMS = [Row("Question: 1 + 1?\nAnswer:", "It is 2.\n#### 2"), Row("Q:", "#### 1,300")]
TOPICS = [Row("Text: ab\nTopic:", topic, topic) for topic in ("Art", "Plant", "Art")]
PLAIN = [Row("Say hello.", "Hello.")]


TEMPLATE = (
    "{% for m in messages %}<bos>{{ m.role }}: {{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant: {% endif %}"
)


def ask(
    rows,
    others=(),
    *,
    max_tokens=99,
    frame=None,
    too_long="error",
    template="auto",
    **config,
):
    config = Config(
        metrics=MetricsConfig(**{"every_rounds": 1, **config}),
        data=DataConfig(max_tokens=max_tokens, template=template),
    )
    tokenizer = byte_tokenizer(frame=frame)
    tokenizer.chat_template = TEMPLATE
    encoder = Encoder(tokenizer, max_tokens, too_long, template)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="truncated")
        encoded = encoder.encode({"test": rows})["test"]
    test = list(zip(rows, encoded, strict=True))
    return asked_of(config, tokenizer, test, others), tokenizer


def texts(tokenizer, choice):
    return [tokenizer.decode([*choice.shared, *one]) for one in choice.options]


def test_nothing_is_asked_unless_it_is_ever_due():
    assert ask(SUMS, every_rounds=0)[0] is None


def test_rows_with_numbers_are_answered():
    asked, tokenizer = ask([*PLAIN, *SUMS], frame=f"{BOS} $A")
    assert asked.names == ("exact_match", "tokens_per_s")
    assert asked.choices == ()
    assert [prompt.number for prompt in asked.prompts] == [2, 1300]
    prompts = [tokenizer.decode(prompt.tokens) for prompt in asked.prompts]
    assert prompts == [BOS + "Question: 1 + 1?\nAnswer:", BOS + "Q:"]


def test_rows_with_labels_choose_among_all_labels_of_the_data():
    others = [Row("Text: c\nTopic:", "Music", "Music"), *PLAIN]
    asked, tokenizer = ask(TOPICS, others)
    assert asked.names == ("accuracy", "f1")
    assert asked.prompts == ()
    assert [choice.true for choice in asked.choices] == [0, 2, 0]
    for choice in asked.choices:
        assert texts(tokenizer, choice) == [
            f"Text: ab\nTopic: {label}" for label in ("Art", "Music", "Plant")
        ]
        assert tokenizer.decode(choice.shared) == "Text: ab\nTopic: "


def test_a_label_that_another_begins_with_is_ended():
    asked, tokenizer = ask(TOPICS, [Row("x", "Plant life", "Plant life")])
    ended = [f"Text: ab\nTopic: {one}<eos>" for one in ("Art", "Plant", "Plant life")]
    assert texts(tokenizer, asked.choices[0]) == ended


def test_one_label_alone_is_a_choice_too():
    asked, tokenizer = ask(TOPICS[:1])
    assert texts(tokenizer, asked.choices[0]) == ["Text: ab\nTopic: Art"]
    assert len(asked.choices[0].options[0]) == 1


def test_a_label_that_is_not_the_answer_is_not_asked_for():
    rows = [Row("Why?", "Because.\n#### 3", "open_qa"), Row("How?", "So.", "qa")]
    asked, _ = ask(rows)
    assert asked.names == ("exact_match", "tokens_per_s")
    assert len(asked.prompts) == 1


def test_the_first_rows_are_taken():
    asked, _ = ask([*SUMS, *TOPICS], num_rows=1)
    assert len(asked.prompts) == 1 and not asked.choices
    asked, _ = ask([*SUMS, *TOPICS], num_rows=99)
    assert (len(asked.prompts), len(asked.choices)) == (2, 3)


def test_chats_are_asked_by_the_template():
    def chat(answer, label=None):
        turns = (Turn("user", "Which?"), Turn("assistant", answer))
        return Row("Which?", answer, label, turns=turns)

    rows = [chat("Art", "Art"), chat("Plant", "Plant"), chat("So #### 7")]
    asked, tokenizer = ask(rows, template="chat")
    before = "<bos>user: Which?<eos><bos>assistant: "
    assert [texts(tokenizer, one) for one in asked.choices] == 2 * [
        [before + "Art", before + "Plant"]
    ]
    (prompt,) = asked.prompts
    assert (tokenizer.decode(prompt.tokens), prompt.number) == (before, 7)


def test_metrics_by_name():
    asked, _ = ask([*SUMS, *TOPICS, *PLAIN], names=("accuracy",))
    assert (asked.prompts, len(asked.choices)) == ((), 3)
    asked, _ = ask([*SUMS, *TOPICS, *PLAIN], names=("tokens_per_s",))
    assert (len(asked.prompts), asked.choices) == (6, ())


def test_a_prompt_that_was_cut_is_asked_as_it_was_cut():
    long = [
        Row("Text: " + "a" * 60 + "\nTopic:", "Art", "Art"),
        Row("x" * 60, "#### 3"),
        TOPICS[1],
    ]
    asked, tokenizer = ask(long, max_tokens=30, too_long="truncate", frame=f"{BOS} $A")
    first, last = asked.choices
    art, plant = texts(tokenizer, first)
    # With the longest label and the end of sequence it is as long as a row may be.
    assert plant == BOS + "a" * 15 + "\nTopic: Plant"
    assert art == BOS + "a" * 15 + "\nTopic: Art"
    assert texts(tokenizer, last)[1] == f"{BOS}Text: ab\nTopic: Plant"
    (prompt,) = asked.prompts
    assert tokenizer.decode(prompt.tokens) == BOS + "x" * (30 - 1 - len(" #### 3") - 1)


def test_rows_of_neither_kind_leave_the_keys_without_effect():
    with pytest.warns(UserWarning, match="keys are without effect: of the first 1 "):
        assert ask(PLAIN)[0] is None
    text = [Row("", "Once upon a time.\n#### 3")]  # nothing to begin with
    with pytest.warns(UserWarning, match="without effect"):
        assert ask(text)[0] is None


@pytest.mark.parametrize("name", ["exact_match", "accuracy", "f1", "tokens_per_s"])
def test_a_metric_without_rows_is_refused(name):
    with pytest.raises(InputError, match=f"has `{name}`, but of the first 1 test row"):
        ask([Row("", "Once.")], names=(name,))
