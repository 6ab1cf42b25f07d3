"""Ask a model in a folder one question, with transformers alone.

Nothing of trimwave is imported: this is what anybody does with an exported folder.

::

    python examples/answer_with_transformers.py FOLDER TEST.jsonl

TEST.jsonl has chats, {"messages": [...]}, whose last turn is the assistant's. Prints
the mean cross-entropy per answer token over all of them, and the model's own answer to
the first, beside the one that the file has.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def read_chats(file: Path) -> list[list[dict[str, str]]]:
    """Return the chats of a file that has one, at least, and an answer in each."""
    lines = file.read_text(encoding="utf-8").splitlines()
    chats = [json.loads(line)["messages"] for line in lines]
    if not chats or any(chat[-1]["role"] != "assistant" for chat in chats):
        raise ValueError("not every chat ends with the assistant's turn")
    return chats


def main() -> None:
    """Load, take the loss, answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("test", type=Path)
    given = parser.parse_args()
    folder = given.folder
    if not (folder / "config.json").is_file():
        parser.exit(2, f"error: {folder} holds no model (no config.json).\n")
    try:
        chats = read_chats(given.test)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        text = f"{given.test} is no file of chats ({type(error).__name__}: {error})"
        parser.exit(2, f"error: {text}.\n")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokens(chat: list[dict[str, str]], ask: bool) -> torch.Tensor:
        text = tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=ask
        )
        text = text if ask else text.rstrip("\n")
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        return ids["input_ids"]

    total, count = 0.0, 0
    for chat in chats:
        whole, start = tokens(chat, ask=False), tokens(chat[:-1], ask=True).shape[1]
        with torch.no_grad():
            logits = model(whole).logits[0, start - 1 : -1].float()
        answer = whole[0, start:]
        total += float(torch.nn.functional.cross_entropy(logits, answer)) * len(answer)
        count += len(answer)
    print(f"loss {total / count:.6f}")

    asked = tokens(chats[0][:-1], ask=True)
    found = model.generate(
        asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=48,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    said = tokenizer.decode(found[0, asked.shape[1] :], skip_special_tokens=True)
    print("question", chats[0][-2]["content"])
    print("answer  ", " ".join(said.split()))
    print("expected", chats[0][-1]["content"])
    assert "trimwave" not in sys.modules


if __name__ == "__main__":
    main()
