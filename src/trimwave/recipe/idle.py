"""Keys that a user wrote and that have no effect on what was asked for.

A recipe serves several commands, so a key that a command never reads is idle only where
it was named for that command; one that is idle under another setting always is.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from trimwave.base.errors import InputError
from trimwave.methods import parse_method
from trimwave.model.config_file import local_path
from trimwave.model.names import KNOWN_MODELS
from trimwave.recipe.config import CellConfig, Config, RadioConfig

GENERATED = "gsm_symbolic"
"""The source of rows that needs no file."""

Command = Literal["run", "compare", "plan", "csv", "sweep"]
"""What was asked for; ``csv`` is a plan of a cell in a CSV."""

WITHOUT_LIMITS = ("deft", "fedbiot", "fedqlora", "lora", "split_lora")
"""Methods that prune by no rule of C4 and C5."""

SEVERAL = ("compare", "sweep")
"""Commands with several methods; the others have the config's."""

Idle = tuple[str, str]
"""A key, or the beginning of keys up to a dot, and the end of "without effect ..."."""

NO_TRAINING = (
    *("name", "rounds", "prune.", "align."),
    *("model.revision", "data.source", "data.configuration", "data.revision"),
    *("data.public", "data.num_test", "data.num_public"),
    *("data.partition", "data.dirichlet_alpha", "data.max_tokens", "data.too_long"),
    *("train.learning_rate", "train.lora_learning_rate", "train.weight_decay"),
    *("train.max_grad_norm", "train.lora_alpha", "train.precision", "train.device"),
)
"""What planning never reads."""

READ_WITH_CSV = (
    "cell.total_bandwidth_hz",
    "cell.up_bandwidth_hz",
    "cell.resource_block_hz",
    "cell.server_speed_flops_per_s",
    "radio.noise",
    "radio.max_spectral_efficiency",
)
"""Keys of `cell` and `radio` that are read beside a cell in a CSV."""

GIVEN_BY_CSV = (
    *(f"cell.{one.name}" for one in fields(CellConfig)),
    *(f"radio.{one.name}" for one in fields(RadioConfig)),
    *("data.client_sizes", "data.num_train", "seed", "--round"),
)
"""What is read of a config, but for `READ_WITH_CSV`, only where no CSV gives it."""


def idle_keys(
    command: Command,
    config: Config,
    named: Collection[str],
    in_recipe: Collection[str] = (),
) -> dict[str, list[str]]:
    """Return the written keys without effect, by the reason why.

    Parameters
    ----------
    command : Command
        What was asked for.
    config : Config
        All settings.
    named : collection of str
        Keys that the command line names, such as ``data.partition``.
    in_recipe : collection of str
        Keys that the user's own recipe names.
    """
    found: dict[str, list[str]] = {}
    told: set[str] = set()
    written = [*dict.fromkeys([*named, *in_recipe])]
    for rules, keys in (
        (_unread_by(command), list(named)),
        (_under_others(config), written),
        (_of_the_method(config) if command not in SEVERAL else (), written),
    ):
        for idle, why in rules:
            for key in keys:
                if key not in told and _matches(key, idle):
                    told.add(key)
                    found.setdefault(why, []).append(key)
    return found


def _matches(key: str, idle: str) -> bool:
    return key.startswith(idle) if idle.endswith(".") else key == idle


def _unread_by(command: Command) -> Iterator[Idle]:
    if command == "csv":
        for key in GIVEN_BY_CSV:
            if key not in READ_WITH_CSV:
                yield key, "on a cell in a CSV"
    if command in ("plan", "csv", "sweep"):
        for key in NO_TRAINING:
            if (command, key) != ("sweep", "name"):  # its folder's
                yield key, "on a plan, which trains nothing"
    if command in ("compare", "sweep"):
        yield "method", "here, where --methods says which"


def _under_others(config: Config) -> Iterator[Idle]:
    """Yield what other settings of the same config leave without effect."""
    if config.data.partition != "dirichlet":
        yield (
            "data.dirichlet_alpha",
            f"while `data.partition` is {config.data.partition}",
        )
    if config.data.source == GENERATED or Path(config.data.source).exists():
        for key in ("data.configuration", "data.revision"):
            yield key, "while `data.source` is no data set of the hub"
    known = KNOWN_MODELS.get(config.model.name)
    if known.hub is None if known else local_path(config.model.name):
        yield "model.revision", "while `model.name` is no model of the hub"
    if config.radio.fading == "none" and not config.radio.trace:
        yield "--round", "while `radio.fading` is none"
    if config.radio.trace:
        for key in ("radio.path_loss_db", "radio.fading"):
            yield key, "while `radio.trace` gives the gains"
    prune, align = config.prune, config.align
    if prune.criterion != "fisher":
        for key in ("prune.num_sequences", "prune.batch_size"):
            yield key, f"while `prune.criterion` is {prune.criterion}"
    if prune.criterion == "layer_drop":
        for key in ("prune.round_to", "prune.min_groups", "prune.min_neurons"):
            yield key, "while `prune.criterion` is layer_drop"
    if not align.every_rounds:
        yield "align.steps", "while `align.every_rounds` is 0"
    if not (align.initial_steps or align.every_rounds):
        never = "while `align.initial_steps` and `align.every_rounds` are 0"
        yield "align.kl_weight", never


def _of_the_method(config: Config) -> Iterator[Idle]:
    """Yield what the one method that runs or is planned leaves without effect."""
    name = config.method.partition(":")[0]
    try:
        method = parse_method(config.method, config.options)
    except InputError:
        return  # told when the run is prepared
    for other in config.options:
        if other != name:
            yield f"options.{other}.", f"on `{name}`"
    if name in WITHOUT_LIMITS:
        yield "limits.", f"on `{name}`, which is not bound by C4 and C5"
    aligns = config.align.initial_steps or config.align.every_rounds
    if name != "fedbiot" and not aligns:
        for key in ("align.batch_size", "align.learning_rate"):
            yield key, "while `align.initial_steps` and `align.every_rounds` are 0"
    if name == "fedbiot":
        for key in ("initial_steps", "every_rounds", "steps", "kl_weight"):
            yield f"align.{key}", "on `fedbiot`, which has its own alignment"
    rate = "learning_rate"
    if getattr(method, rate, None) is not None:
        for key in (f"train.{rate}", f"train.lora_{rate}"):
            yield key, f"while `{name}` has a `learning_rate` of its own"
    if getattr(method, "adapter", "lora") == "lora":
        yield f"train.{rate}", f"on `{name}`, which trains LoRA factors"
        return
    for key in (f"lora_{rate}", "lora_rank", "lora_alpha"):
        yield f"train.{key}", f"on `{name}`, which trains weights"


def keys_of(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the keys that a parsed recipe names, dotted."""
    found: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += keys_of(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found
