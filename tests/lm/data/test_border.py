"""Tokens of prompt + answer are those of the joined text, whatever the tokenizer."""

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer import EOS, byte_tokenizer
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from trimwave.lm.data.encode import Encoder
from trimwave.lm.data.rows import Row

TEXTS = [
    "Question: How many books are on 3 shelves of 4 each?\nAnswer: 3 * 4 = 12\n#### 12",
    "Question: A river has 20 boats. Where are they?\nAnswer: In the river.\n#### 20",
    "Text: the café opened in 1932 and has rooms\nTopic: Building\nThe end, 日本語 🙂",
]


def metaspace(scheme, split):
    return pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=split)


def trained(kind):
    """Train a tiny tokenizer of one family on a few texts."""
    special, alphabet = ["<unk>", "<s>", EOS], []
    bytes_ = kind in ("bytes", "gpt2", "roberta")
    inner = tokenizers.Tokenizer(models.BPE(byte_fallback=not bytes_))
    if bytes_:
        spaced = kind == "roberta"
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        special += [f"<0x{byte:02X}>" for byte in range(256)]
        inner.pre_tokenizer = metaspace("never", True)  # no words are merged
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        inner.decoder = decoders.Sequence(parts)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet
    )
    inner.train_from_iterator(TEXTS * 4, trainer)
    if kind in ("gpt2", "roberta"):  # their spans leave out the space before a word
        inner.post_processor = processors.ByteLevel(trim_offsets=True)
    elif kind in ("always", "first", "never"):
        inner.pre_tokenizer = metaspace(kind, kind == "never")
    elif kind == "normalised":  # Llama 2's own file
        inner.pre_tokenizer = None
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=EOS, bos_token="<s>", unk_token="<unk>"
    )


KINDS = ("bytes", "gpt2", "roberta", "always", "first", "never", "normalised")
FAMILIES = {kind: trained(kind) for kind in KINDS} | {
    "one byte": byte_tokenizer(),
    "slow": transformers.ByT5Tokenizer(),
}
PROMPTS = (
    "Question: How many books?\nAnswer:",
    "the river\n",
    "a river of 20 ",
    "",
    "café 🙂",
    "x\x00",
    " ",
)
ANSWERS = ("12", "The end", "\nIn the river.\n#### 20", "  two", "🙂日", "é\x00\x07.")


def encoded(tokenizer, row):
    item = Encoder(tokenizer, 10_000).encode({"train": [row]})["train"][0]
    ids = item.input_ids.tolist()
    assert ids.pop() == tokenizer.eos_token_id
    return ids, item.answer_start


def joined_text(prompt, answer):
    apart = not prompt or prompt[-1].isspace() or answer[0].isspace()
    return prompt + answer if apart else f"{prompt} {answer}"


def check(tokenizer, prompt, answer):
    """Tokens are the joined text's, and the labels' text ends with the answer."""
    text = joined_text(prompt, answer)
    ids, border = encoded(tokenizer, Row(prompt, answer))
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    learnt = tokenizer.decode(ids[border:], clean_up_tokenization_spaces=False)
    given_ = tokenizer.decode(ids[:border], clean_up_tokenization_spaces=False)
    assert learnt.strip(" ").endswith(answer.strip(" "))  # no label is lost
    assert prompt.strip().startswith(given_.strip(" \n\ufffd"))  # nor given away
    return ids, border


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_the_joined_text(family):
    for prompt in PROMPTS:
        for answer in ANSWERS:
            check(FAMILIES[family], prompt, answer)


WORDS = st.text("aeinrstTh 0123\n.🙂é日", min_size=1, max_size=12)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40)
@given(prompt=WORDS | st.just(""), answer=WORDS.filter(str.strip))
def test_tokens_of_any_row_are_those_of_the_joined_text(family, prompt, answer):
    check(FAMILIES[family], prompt, answer)


@pytest.mark.parametrize("family", ["always", "first", "normalised"])
def test_an_answer_after_a_newline_has_no_word_mark_of_its_own(family):
    tokenizer = FAMILIES[family]
    apart = tokenizer("The end", add_special_tokens=False)["input_ids"]
    ids, border = encoded(tokenizer, Row("the river\n", "The end"))
    assert tokenizer.convert_ids_to_tokens(apart)[0].startswith("▁")
    assert not tokenizer.convert_ids_to_tokens(ids[border:])[0].startswith("▁")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cue_and_the_spaced_answer_are_cut_between_them(family):
    ids, border = encoded(FAMILIES[family], Row("Question: the\nAnswer:", "river"))
    decode = FAMILIES[family].decode
    assert decode(ids[:border]).strip() == "Question: the\nAnswer:"
    assert decode(ids[border:]).strip() == "river"


def test_a_token_across_the_border_belongs_to_the_answer():
    vocab = {token: i for i, token in enumerate(["<eos>", "a", "b", "\n", "\nb"])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[("\n", "b")]))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=EOS
    )
    assert encoded(tokenizer, Row("a\n", "ba")) == ([1, 4, 1], 1)


def test_without_offsets_the_border_is_where_the_prompt_alone_parts_ways():
    class Slow:
        """Merges a newline with what follows; written in Python."""

        is_fast, eos_token_id = False, 0
        vocab = ("", "a", "b", "\n", "\nb")

        def __call__(self, text, add_special_tokens=True, verbose=True, **kwargs):
            if not isinstance(text, str):
                return {"input_ids": [self(one)["input_ids"] for one in text]}
            assert not kwargs.get("return_offsets_mapping")
            ids = [self.vocab.index(c) for c in text.replace("\nb", "B") if c != "B"]
            if "\nb" in text:
                ids.insert(text.index("\nb"), 4)
            return {"input_ids": ids}

    assert encoded(Slow(), Row("a\n", "ba")) == ([1, 4, 1], 1)
    assert encoded(Slow(), Row("a\n", "a")) == ([1, 3, 1], 2)
    assert encoded(Slow(), Row("", "a")) == ([1], 0)
