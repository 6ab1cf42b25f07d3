"""What `trimwave tune` prints and writes."""

import json

from trimwave.report.aligned import aligned
from trimwave.runs.tuned import Tried, Tuned

MEANINGS = {
    "rate": "AdamW step size on the clients",
    "rank": "r of the LoRA factors",
    "loss n": "test loss of the full model on public rows after round n",
}


def tune_table(tuned: Tuned, width: int) -> list[str]:
    """Lay out what was tried, the best marked, where one did not diverge."""
    best = None if all(one.diverged for one in tuned.tried) else tuned.best
    most = max(len(one.losses) + one.diverged for one in tuned.tried)
    columns: dict[str, list[str]] = {
        "rate": [f"{one.learning_rate:g}" for one in tuned.tried]
    }
    if any(one.lora_rank is not None for one in tuned.tried):
        columns["rank"] = [str(one.lora_rank) for one in tuned.tried]
    for at in range(most):
        columns[f"loss {at}"] = [_loss(one, at) for one in tuned.tried]
    columns[" "] = ["best" if one is best else "" for one in tuned.tried]
    return aligned(columns, width, left=(" ",))


def _loss(one: Tried, at: int) -> str:
    if at < len(one.losses):
        return f"{one.losses[at]:.4f}"
    return "diverged" if one.diverged and at == len(one.losses) else "-"


def tune_lines(tuned: Tuned) -> list[str]:
    """Say what was picked, and what it was picked from."""
    facts = tuned.facts
    lines = [
        f"picked on {sum(facts['train_rows'])} public rows of "
        f"{len(facts['train_rows'])} clients, tested on {facts['test_rows']} others, "
        f"{facts['rounds']} round{'s' * (facts['rounds'] > 1)}, seed {facts['seed']}"
    ]
    for name in tuned.edges:
        option = "--learning-rates" if name == "learning_rate" else "--ranks"
        lines.append(
            f"the best {name} is at an end of the grid: widen it with {option}"
        )
    return lines


def tune_toml(tuned: Tuned, recipe: str, method: str) -> list[str]:
    """Return a recipe with what was picked, over the one that it was picked for.

    Parameters
    ----------
    tuned : Tuned
        What was tried.
    recipe : str
        Name or absolute path of the recipe below.
    method : str
        As it was tuned, with its options: the recipe below may have another.
    """
    best = tuned.best
    lines = [
        f"extends = {_quoted(recipe)}",
        f"method = {_quoted(method)}",
        "",
        f"[options.{_quoted(tuned.method)}]",  # a rule of one's own has a colon
        f"learning_rate = {best.learning_rate!r}",
    ]
    if best.lora_rank is not None:
        lines.append(f"lora_rank = {best.lora_rank}")
    return lines


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
