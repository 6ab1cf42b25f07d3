import pytest
import torch
import transformers
from speller import speller
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.surgery.split import split_model
from trimwave.lm.train import generate
from trimwave.lm.train.generate import greedy, greedy_tokens

END = 1
"""The byte tokenizer's end of sequence."""


def by_hand(model, prompt, max_new_tokens, ends=(END,)):
    """The likeliest token again and again, each time by a whole forward pass."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(max_new_tokens):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] in ends:
                break
    return tokens[len(prompt) :]


def test_batches_of_any_length_answer_as_each_prompt_alone(model, monkeypatch):
    monkeypatch.setattr(generate, "BATCH_ROWS", 3)
    generator = torch.Generator().manual_seed(5)
    prompts = [
        torch.randint(3, 96, (length,), generator=generator).tolist()
        for length in (9, 1, 4, 11, 2)  # two batches, out of order
    ]
    joined = split_model(model, 2).joined()
    found = greedy_tokens(joined, byte_tokenizer(), prompts, 5)
    ends = (END, model.config.eos_token_id)
    assert found == [by_hand(model, prompt, 5, ends) for prompt in prompts]


def test_text_in_text_out():
    model = speller("?42.")
    tokenizer = byte_tokenizer(frame="<bos> $A <eos>")
    assert greedy(model, tokenizer, ["What?", "And then, say?"], 9) == ["42.", "42."]
    assert greedy(model, tokenizer, ["What?"], 2) == ["42"]


def test_the_models_own_settings_of_decoding_have_no_say():
    model = speller("?42.")
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=9.0, top_k=50, repetition_penalty=9.0, num_beams=3
    )
    before = model.generation_config.to_dict()
    assert greedy(model, byte_tokenizer(), ["?"], 9) == ["42."]
    assert model.generation_config.to_dict() == before


def test_a_second_end_of_sequence_ends_too():
    model, tokenizer = speller("?42."), byte_tokenizer()
    dot = tokenizer(".")["input_ids"][0]
    model.generation_config.eos_token_id = [dot]
    (found,) = greedy_tokens(model, tokenizer, [tokenizer("?")["input_ids"]], 9)
    assert tokenizer.decode(found) == "42."  # the end itself is no text


def test_an_answer_ends_where_the_context_does():
    model = speller("xx")  # for ever
    room = model.config.max_position_embeddings - 10
    assert greedy(model, byte_tokenizer(), ["x" * 10], 10**6) == ["x" * room]
    with pytest.raises(InputError, match="prompt 1 has 64 tokens.*context of 64"):
        greedy(model, byte_tokenizer(), ["x", "x" * 64], 5)
    with pytest.raises(InputError, match="prompt 0 has 0 tokens"):
        greedy(model, byte_tokenizer(), [""], 5)
