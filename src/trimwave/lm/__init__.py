"""Surgery on real models: split, score, prune, save (needs ``trimwave[lm]``).

Importing this registers the pruned architectures with transformers, so that
``AutoModelForCausalLM.from_pretrained`` reads a folder that `save_pruned` wrote.
"""

from trimwave.base.errors import MissingExtraError

try:
    from trimwave.lm.surgery.blocks import (
        ARCHITECTURES,
        Architecture,
        architecture_of,
        shape_of,
    )
    from trimwave.lm.surgery.importance import (
        CRITERIA,
        BlockScores,
        Scores,
        fisher,
        layer_drop,
        magnitude,
        random_scores,
        score,
    )
    from trimwave.lm.surgery.prune import KeptSet, Ranking, prune_emulator, rank_units
    from trimwave.lm.surgery.pruned_model import load_pruned, save_pruned
    from trimwave.lm.surgery.split import SplitModel, split_model
except ModuleNotFoundError as missing:
    raise MissingExtraError("lm", str(missing.name)) from missing

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
