import numpy as np
import pytest
import torch
from tokenizer import BOS, EOS, byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.cell.partition import batch_indices
from trimwave.lm.data.encode import IGNORED, Encoded, Encoder, collate
from trimwave.lm.data.rows import Row

ROW = Row("Question: 1+1?\nAnswer:", "2", None, "line 1 of `a.jsonl`")
LONG = Row("Question: 12345\nAnswer:", "67", None, "line 2 of `a.jsonl`")


def encode(rows, tokenizer, max_tokens, too_long="error"):
    return Encoder(tokenizer, max_tokens, too_long).encode({"train": rows})["train"]


def split_text(tokenizer, item):
    ids = item.input_ids.tolist()
    start = item.answer_start
    return tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])


def test_the_border_is_between_the_cue_and_the_spaced_answer():
    tokenizer = byte_tokenizer()
    (item,) = encode([ROW], tokenizer, 99)
    assert split_text(tokenizer, item) == (ROW.prompt, " 2" + EOS)
    assert item.input_ids.dtype == torch.long


@pytest.mark.parametrize(
    ("frame", "same", "prompt"),
    [
        (f"{BOS} $A", False, BOS + ROW.prompt),
        (f"{BOS} $A {EOS}", False, BOS + ROW.prompt),
        (f"$A {EOS}", False, ROW.prompt),
        (f"{EOS} $A", True, EOS + ROW.prompt),  # one token for both, as GPT-2 has
    ],
)
def test_the_tokenizer_decides_on_a_first_token(frame, same, prompt):
    special = {"bos_token": EOS} if same else {}
    tokenizer = byte_tokenizer(frame=frame, **special)
    (item,) = encode([ROW], tokenizer, 99)
    assert split_text(tokenizer, item) == (prompt, " 2" + EOS)


@pytest.mark.parametrize(
    ("prompt", "answer", "text"),
    [("", "some text", "some text"), ("a ", "b", "a b"), ("a", "\nb", "a\nb")],
)
def test_no_space_is_added_where_there_is_one(prompt, answer, text):
    tokenizer = byte_tokenizer()
    (item,) = encode([Row(prompt, answer)], tokenizer, 99)
    assert tokenizer.decode(item.input_ids.tolist()) == text + EOS
    assert item.answer_start == len(prompt)


def test_a_row_of_just_max_tokens_fits():
    length = len(ROW.prompt) + 3
    for too_long in ("error", "drop", "truncate"):
        assert len(encode([ROW], byte_tokenizer(), length, too_long)) == 1
    with pytest.raises(InputError, match=rf"line 1 of `a.jsonl` has {length} tokens"):
        encode([ROW], byte_tokenizer(), length - 1)


def test_too_long_error_names_the_row_of_the_file_and_the_remedies():
    message = (
        "line 2 of `a.jsonl` has 27 tokens .*1 of 2 train rows.*longest 27.*"
        "raise `data.max_tokens`.*`drop` or `trunc"
    )
    with pytest.raises(InputError, match=message):
        encode([ROW, LONG], byte_tokenizer(), 26)


def test_only_drop_turns_rows_away_and_encode_never_does():
    encoders = {how: Encoder(byte_tokenizer(), 26, how) for how in ("drop", "truncate")}
    assert encoders["drop"].fits([LONG, ROW, LONG]) == [False, True, False]
    assert encoders["truncate"].fits([LONG, ROW]) == [True, True]
    with pytest.raises(InputError, match="line 2 of `a.jsonl` has 27 tokens"):
        encoders["drop"].encode({"train": [LONG, ROW]})


def test_truncation_is_said_once_for_all_parts():
    parts = {"train": [LONG, ROW], "test": [ROW], "public": [LONG]}
    encoder = Encoder(byte_tokenizer(), 26, "truncate")
    message = "truncated: 1 of 2 train rows, 1 of 1 public rows .*= 26.*longest 27"
    with pytest.warns(UserWarning, match=message) as said:
        items = encoder.encode(parts)
    assert len(said) == 1
    assert {part: len(own) for part, own in items.items()} == {
        "train": 2,
        "test": 1,
        "public": 1,
    }


@pytest.mark.parametrize(
    ("max_tokens", "prompt", "answer"),
    [
        (14, BOS + "5\nAnswer:", " 67" + EOS),
        (5, BOS, " 67" + EOS),
        (3, BOS, " 6"),
    ],
)
def test_too_long_truncate_cuts_the_front_of_the_prompt_first(
    max_tokens, prompt, answer
):
    tokenizer = byte_tokenizer(frame=f"{BOS} $A")
    with pytest.warns(UserWarning, match="truncated: 1 of 1 train rows"):
        (item,) = encode([LONG], tokenizer, max_tokens, "truncate")
    found = split_text(tokenizer, item)
    assert found[0] == prompt
    assert found[1] == answer
    assert len(item.input_ids) == max_tokens


def test_bad_arguments():
    with pytest.raises(InputError, match="did you mean `truncate`"):
        encode([ROW], byte_tokenizer(), 9, "truncat")
    with pytest.raises(InputError, match="at least 2, got 1"):
        encode([ROW], byte_tokenizer(), 1)
    with pytest.raises(InputError, match="no end-of-sequence token"):
        encode([ROW], byte_tokenizer(eos_token=None), 9)


def test_collate_by_hand():
    items = [
        Encoded(torch.tensor([5, 6, 7]), 1),
        Encoded(torch.tensor([8, 9, 10, 11]), 3),
        Encoded(torch.tensor([3, 4]), 0),  # text: nothing predicts its first token
    ]
    batch = collate(items, pad_id=7)
    x = IGNORED
    assert batch.input_ids.tolist() == [[5, 6, 7, 7], [8, 9, 10, 11], [3, 4, 7, 7]]
    assert batch.labels.tolist() == [[x, 6, 7, x], [x, x, x, 11], [x, 4, x, x]]
    assert batch.num_answer_tokens == 4


@pytest.mark.parametrize("batch_size", [1, 3, 5, 12])
def test_every_epoch_covers_all_rows_once(batch_size):
    rows = np.concatenate([batch_indices(0, 2, s, batch_size, 5) for s in range(30)])
    for epoch in range(len(rows) // 5):
        assert sorted(rows[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]


def test_a_step_stands_alone_and_clients_and_epochs_differ():
    late = batch_indices(0, 1, 7, 4, 100)
    [batch_indices(0, 1, step, 4, 100) for step in range(3)]
    assert np.array_equal(late, batch_indices(0, 1, 7, 4, 100))
    first = batch_indices(0, 1, 0, 100, 100)
    for other in ((0, 2, 0), (1, 1, 0), (0, 1, 1)):
        assert not np.array_equal(first, batch_indices(*other, 100, 100))


def test_steps_cut_the_same_sequence_whatever_the_batch_size():
    ones = [int(batch_indices(3, 0, step, 1, 7)[0]) for step in range(12)]
    fours = np.concatenate([batch_indices(3, 0, step, 4, 7) for step in range(3)])
    assert ones == fours.tolist()
