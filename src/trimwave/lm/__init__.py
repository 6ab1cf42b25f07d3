"""Surgery and training of real models (needs ``trimwave[lm]``).

The names below are loaded when they are asked for, so that ``trimwave models`` need not
load torch. Loading one registers the pruned architectures with transformers, whose
``AutoModelForCausalLM.from_pretrained`` then reads a folder that `save_pruned` wrote.
"""

from importlib import import_module
from typing import Any

from trimwave.base.errors import MissingExtraError

_HOMES = {
    "ARCHITECTURES": "blocks",
    "CRITERIA": "importance",
    "Architecture": "blocks",
    "BlockScores": "importance",
    "KeptSet": "ranking",
    "Ranking": "ranking",
    "Scores": "importance",
    "SplitModel": "split",
    "architecture_of": "blocks",
    "fisher": "importance",
    "layer_drop": "importance",
    "load_pruned": "pruned_model",
    "magnitude": "importance",
    "prune_emulator": "prune",
    "random_scores": "importance",
    "rank_units": "rank",
    "save_pruned": "pruned_model",
    "score": "importance",
    "shape_of": "blocks",
    "split_model": "split",
}
"""Module of ``lm.surgery`` by public name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    try:
        import_module(f"{__name__}.surgery.pruned_model")
        home = import_module(f"{__name__}.surgery.{_HOMES[name]}")
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "ARCHITECTURES",
    "CRITERIA",
    "Architecture",
    "BlockScores",
    "KeptSet",
    "Ranking",
    "Scores",
    "SplitModel",
    "architecture_of",
    "fisher",
    "layer_drop",
    "load_pruned",
    "magnitude",
    "prune_emulator",
    "random_scores",
    "rank_units",
    "save_pruned",
    "score",
    "shape_of",
    "split_model",
]
