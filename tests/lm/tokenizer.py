"""A tokenizer with a token per byte, and a tiny model to go with it."""

from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors

BOS, EOS = "<bos>", "<eos>"


def byte_tokenizer(*, frame=None, **special):
    """One token per byte; `frame` such as "<bos> $A <eos>" is put around a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([BOS, EOS, *alphabet])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    inner.decoder = decoders.ByteLevel()
    if frame:
        pairs = [(BOS, vocab[BOS]), (EOS, vocab[EOS])]
        inner.post_processor = processors.TemplateProcessing(
            single=frame, special_tokens=pairs
        )
    special = {"bos_token": BOS, "eos_token": EOS, **special}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def save_tiny_model(folder: Path) -> transformers.LlamaForCausalLM:
    """Write a random Llama of one block and the byte tokenizer, as an HF folder."""
    config = transformers.LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(str(folder))
    byte_tokenizer().save_pretrained(str(folder))
    return model
