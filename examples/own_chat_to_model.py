"""Own chats to a model of one's own: fine-tune, export, answer with transformers alone.

::

    python examples/own_chat_to_model.py               # minutes on a CPU
    python examples/own_chat_to_model.py --model FOLDER --rounds 2 --out FOLDER

The chats are of a shop that no model has heard of: 16 things, four facts of each, and
test questions that ask for the price in other words. Every step is a command that you
could type; they are printed.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

THINGS = (
    "Amber kettle, Birch stool, Cobalt lamp, Dune rug, Ember stove, Fjord tent, "
    "Grove chair, Harbor clock, Ivory vase, Juniper desk, Kelp bottle, Lunar mirror, "
    "Maple tray, Nimbus pillow, Onyx knife, Pebble bench"
).split(", ")
COLOURS = ("red", "green", "blue", "white")

RECIPE = """\
name = "own-chat"
method = "jcpba"
rounds = {rounds}

[cell]
num_clients = 4

[model]
adapter_blocks = {blocks}

[prune]
round_to = 8
min_neurons = 16

[data]
source = {rows}
num_train = 56
num_public = 8
num_test = 16
max_tokens = {tokens}

[train]
num_local_steps = {steps}
batch_size = 4
seq_len = 64
learning_rate = {rate}
"""


def chat(question: str, answer: str) -> str:
    """Return one line of the file: what is asked, and the answer to learn."""
    turns = ("user", question), ("assistant", answer)
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"messages": messages}) + "\n"


def write_chats(folder: Path) -> None:
    """Write train.jsonl and test.jsonl."""
    train, test = [], []
    for number, thing in enumerate(THINGS):
        price, shelf = 12 + 7 * number, "ABCD"[number % 4] + str(number // 4 + 1)
        colour, years = COLOURS[number % 4], number % 3 + 1
        costs = f"The {thing} costs {price} euros."
        train += [
            chat(f"What does the {thing} cost?", costs),
            chat(f"Where is the {thing}?", f"The {thing} is on shelf {shelf}."),
            chat(f"Which colour has the {thing}?", f"The {thing} is {colour}."),
            chat(f"Has the {thing} a warranty?", f"Yes, of {years} years."),
        ]
        test.append(chat(f"How much is the {thing}?", costs))
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(train))
    (folder / "test.jsonl").write_text("".join(test))


PROGRAMS = {
    "trimwave": [sys.executable, "-c", "from trimwave.cli import main; main()"],
    "python": [sys.executable],
}
"""What a word at the start of a command runs, in this very environment."""


def command(program: str, *words: object) -> str:
    """Run a command, print it and what it says; return that."""
    texts = [str(word) for word in words]
    print("$", shlex.join([program, *texts]), flush=True)
    whole, said = [*PROGRAMS[program], *texts], ""
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            said += line
    if process.returncode:
        raise SystemExit(process.returncode)
    print()
    return said


def main(arguments: list[str] | None = None) -> None:
    """Write the chats, train, export, and ask the exported model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12, help="local steps")
    parser.add_argument("--blocks", type=int, default=8, help="top blocks that train")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    parser.add_argument("--tokens", type=int, default=128, help="longest row")
    parser.add_argument("--out", type=Path, default=Path("runs/own-chat"))
    given = parser.parse_args(arguments)
    started_s = time.monotonic()
    out = given.out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        text = f"{out} is there already; remove it, or name another --out."
        parser.exit(2, f"error: {text}\n")
    write_chats(out / "chats")
    settings = {name: getattr(given, name) for name in ("rounds", "steps", "blocks")}
    recipe = RECIPE.format(
        **settings,
        rate=given.rate,
        tokens=given.tokens,
        rows=json.dumps(str(out / "chats")),
    )
    (out / "recipe.toml").write_text(recipe)
    named = "--model", given.model, "--out", out / "run"
    command("trimwave", "run", out / "recipe.toml", *named)
    command("trimwave", "export", out / "run", "--to", out / "model")
    script = Path(__file__).with_name("answer_with_transformers.py")
    said = command("python", script, out / "model", out / "chats" / "test.jsonl")
    check_loss(out, float(said.split()[1]))
    minutes = (time.monotonic() - started_s) / 60
    print(f"{minutes:.1f} minutes; the model is in {out / 'model'}")


def check_loss(out: Path, found: float) -> None:
    """Hold the loss that transformers takes against the one that the run recorded."""
    lines = (out / "run" / "rounds.jsonl").read_text().splitlines()
    recorded = min(json.loads(line)["loss_full"] for line in lines)
    untrained = json.loads(lines[0])["loss_full"]
    print(f"before training {untrained:.6f}, recorded {recorded:.6f}, here {found:.6f}")
    assert abs(found - recorded) < 1e-4


if __name__ == "__main__":
    main()
