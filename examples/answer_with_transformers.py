"""Ask a model in a folder one question, with transformers alone.

Nothing of trimwave is imported: this is what anybody does with an exported folder.

::

    python examples/answer_with_transformers.py FOLDER TEST.jsonl

TEST.jsonl has chats, {"messages": [...]}, whose last turn is the assistant's. Prints
the mean cross-entropy per answer token over all of them, and the model's own answer to
the first, beside the one that the file has.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Load, take the loss, answer."""
    folder, test = Path(sys.argv[1]), Path(sys.argv[2])
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [json.loads(line)["messages"] for line in test.read_text().splitlines()]

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
