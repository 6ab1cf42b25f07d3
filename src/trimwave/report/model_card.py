"""The card beside an exported model: what it is, whence, and how good, for the hub."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trimwave.methods import label_of
from trimwave.model.names import KNOWN_MODELS, KnownModel
from trimwave.recipe.written import recipe_of
from trimwave.runs.best import best_round
from trimwave.runs.chosen import Chosen

MOST_ROWS = 24
"""Rounds that the card lists; of more, those around the chosen one and the ends."""

USE = {
    "model": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
""",
    "adapter": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("BASE")
model = PeftModel.from_pretrained(model, "FOLDER")
""",
}


def model_card(
    chosen: Chosen,
    kind: str,
    dtype: str,
    licence: str,
    notes: Sequence[str] = (),
    losses: Mapping[str, float] | None = None,
) -> str:
    """Return the README.md of an exported model.

    Parameters
    ----------
    chosen : Chosen
        The round it is of.
    kind : {"merged", "pruned", "adapter"}
        What lies in the folder.
    dtype : str
        Of the weights.
    licence : str
        The base model's, as the hub spells it; empty if not known.
    notes : sequence of str
        Sentences on what a user has to know.
    losses : mapping, optional
        Test losses that were taken of the exported model, by what they are of.
    """
    facts = chosen.run.manifest
    base = facts["model"]
    known = KNOWN_MODELS.get(base["name"])
    repository = _repository(base, known)
    name = repository or Path(base["name"]).name
    front = _front_matter(kind, repository, licence)
    rows = {
        "method": label_of(chosen.config.method, chosen.config.options),
        "base model": f"{name}, {_without_paths(base['source'])}",
        "licence of the base": licence or "unknown, see the base model",
        "round": _round(chosen),
        "test loss before training": f"{chosen.records[0]['loss_full']:.6f}",
        "test loss after the round": f"{chosen.record['loss_full']:.6f}",
        **{f"test loss, {of}": f"{value:.6f}" for of, value in (losses or {}).items()},
        "rows": _rows(chosen, facts["data"]),
        "weights": dtype,
        "trimwave": _versions(facts),
    }
    use = USE["adapter" if kind == "adapter" else "model"].replace("BASE", name)
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows.items())
    sentences = " ".join([_what(kind, name), *notes])
    return f"""{front}
# {_cell(name)}, fine-tuned with trimwave

{sentences}

| | |
|---|---|
{table}

The loss is the mean cross-entropy per answer token on the test rows, of the trained
blocks on the whole model. A round that was chosen by it is chosen by the test rows.

```python
{use}```

## Losses

{_losses(chosen)}

## Recipe

```toml
{recipe_of(chosen.config)}```

## Digests

```json
{json.dumps(_digests(facts), indent=2)}
```
"""


def licence_of(chosen: Chosen) -> str:
    """Return the licence of a run's base model; empty if nothing here says it."""
    name = chosen.config.model.name
    if name in KNOWN_MODELS:
        return KNOWN_MODELS[name].licence
    return licence_in(Path(name).expanduser())


def licence_in(folder: Path) -> str:
    """Return the licence that the card in a folder names; empty if it names none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    start, _, rest = card.read_text(errors="replace").partition("---\n")
    for line in rest.partition("\n---")[0].splitlines() if not start.strip() else ():
        key, _, value = line.partition(":")
        if key == "license":
            return value.strip().strip("\"'")
    return ""


def _repository(base: Mapping[str, Any], known: KnownModel | None) -> str:
    """Return the hub's name of the base model; empty if it has none."""
    source = str(base["source"])
    if known:
        return known.repository
    return source.removeprefix("hub: ") if source.startswith("hub: ") else ""


def _front_matter(kind: str, repository: str, licence: str) -> str:
    """Return what the hub reads of a card, in YAML; JSON's strings are YAML's."""
    fields: dict[str, str] = {
        "library_name": "peft" if kind == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
    }
    if repository:
        fields["base_model"] = repository
        fields["base_model_relation"] = "adapter" if kind == "adapter" else "finetune"
    if licence:
        fields["license"] = licence
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    tags = ["trimwave", "federated-learning", *(["lora"] * (kind == "adapter"))]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _what(kind: str, name: str) -> str:
    return {
        "merged": f"{name} with the blocks that were trained plugged in.",
        "pruned": f"{name} with the blocks that were trained on top of pruned ones.",
        "adapter": f"LoRA factors for {name}, as PEFT loads them.",
    }[kind]


def _round(chosen: Chosen) -> str:
    last = len(chosen.records) - 1
    best = best_round(chosen.records)
    which = "the best" if chosen.is_best else f"the best is {best}"
    return f"{chosen.number} of {last} ({which}, by the test loss)"


def _rows(chosen: Chosen, data: Mapping[str, Any]) -> str:
    source = chosen.config.data.source
    source = Path(source).name if Path(source).is_absolute() else source
    counts = ", ".join(f"{count} {part}" for part, count in data["rows"].items())
    return f"{source}: {counts}; {chosen.config.cell.num_clients} clients"


def _versions(facts: Mapping[str, Any]) -> str:
    began = facts.get("versions", {}).get("trimwave", "")
    return f"{began} (run), {version('trimwave')} (export)"


def _losses(chosen: Chosen) -> str:
    records = chosen.records
    shown = set(range(len(records)))
    if len(records) > MOST_ROWS:
        near = MOST_ROWS // 3
        around = range(chosen.number - near // 2, chosen.number + near // 2 + 1)
        shown = {*range(near), *around, *range(len(records) - near, len(records))}
    lines = ["| round | loss, whole model | loss, emulator |", "|---:|---:|---:|"]
    for number in sorted(shown & set(range(len(records)))):
        record = records[number]
        mark = "**" if number == chosen.number else ""
        losses = f"{record['loss_full']:.6f} | {record['loss_emulator']:.6f}"
        lines.append(f"| {mark}{number}{mark} | {losses} |")
    return "\n".join(lines)


def _digests(facts: Mapping[str, Any]) -> dict[str, Any]:
    data = facts["data"]
    revisions = {key: data[key] for key in ("revision", "public_revision")}
    base = {key: value for key, value in facts["model"].items() if key != "name"}
    return {"base model": base, "data": revisions}


def _without_paths(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text


def _cell(text: object) -> str:
    """Return a text as it stands in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
