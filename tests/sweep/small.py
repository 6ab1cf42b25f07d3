"""A sweep of a small cell."""

from trimwave.recipe.config import Config
from trimwave.recipe.recipe import merge_overrides
from trimwave.sweep.grid import Sweep

CONFIG = merge_overrides(
    Config(), ["model.name=gpt2", "cell.num_clients=3", "train.seq_len=64"]
)
VARY = {"cell.speed_factor": [[1, 1.5], [0.2, 2.5]], "limits.beta_bar": [0.4, 0.5]}
METHODS = "jcpba", "ubfp:adapter=lora"


def make_sweep(**changes):
    asked = {"config": CONFIG, "vary": VARY, "methods": METHODS, "draws": 2}
    return Sweep(**{**asked, **changes})
