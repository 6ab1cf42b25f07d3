"""Keys that a user wrote and that have no effect on what was asked for.

A recipe serves several commands, so a key that a command never reads is idle only where
it was named for that command; one that is idle under another setting always is.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from trimwave.base.errors import InputError
from trimwave.methods import parse_method
from trimwave.model.config_file import local_path
from trimwave.model.names import KNOWN_MODELS
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import fleet_of

GENERATED = "gsm_symbolic"
"""The source of rows that needs no file."""

Command = Literal["run", "compare", "plan", "sweep"]
"""What was asked for."""

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
    *("data.columns", "data.label_column", "data.label_names", "data.template"),
    *("train.learning_rate", "train.lora_learning_rate", "train.weight_decay"),
    *("train.max_grad_norm", "train.lora_alpha", "train.precision", "train.device"),
)
"""What planning never reads, but for `READ_OF_OWNED`."""

READ_OF_OWNED = ("data.source", "data.partition", "data.columns")
"""What planning reads where the rows say whose they are."""

RADIO_OF_LINKS = (
    *("server_power_w", "path_loss_db", "fading"),
    *("noise_psd_dbm_per_hz", "noise_figure_db"),
)
"""Keys of `radio` that a table with both links leaves without effect."""


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
        (_unread_by(command, config), list(named)),
        (_beside_fleet(command, config), written),
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


def _unread_by(command: Command, config: Config) -> Iterator[Idle]:
    if command in ("plan", "sweep"):
        for key in NO_TRAINING:
            if (command, key) == ("sweep", "name"):  # its folder's
                continue
            if not (config.data.is_owned and key in READ_OF_OWNED):
                yield key, "on a plan, which trains nothing"
    if command in ("compare", "sweep"):
        yield "method", "here, where --methods says which"


def _beside_fleet(command: Command, config: Config) -> Iterator[Idle]:
    """Yield what the columns of a table of clients leave without effect."""
    try:
        fleet = fleet_of(config)
    except InputError:
        return  # told when the clients are read
    if fleet is None or not fleet.gives("compute_ms_per_sample"):
        yield "cell.flops_per_sample", "without a column `compute_ms_per_sample`"
    if fleet is None:
        return
    keys = ["cell.base_speed_flops_per_s", "cell.speed_factor"]
    if fleet.gives("memory_bytes"):
        keys.append("cell.memory_bytes")
    if command in ("plan", "sweep") and fleet.gives("num_samples"):
        keys += ["data.client_sizes", "data.num_train"]
    if fleet.gives("power_tx_w") or fleet.fixes_links:
        keys.append("radio.client_power_w")
    if fleet.fixes_links:
        keys += [f"radio.{key}" for key in RADIO_OF_LINKS] + ["--round"]
        if command == "plan" and fleet.gives("memory_bytes"):
            keys.append("seed")
    for key in keys:
        yield key, f"beside {fleet.found.path.name}, which gives the clients"


def _of_rows(config: Config) -> Iterator[Idle]:
    """Yield what says nothing about rows as they are."""
    data = config.data
    if data.source == GENERATED:
        for key in ("data.columns", "data.label_column", "data.label_names"):
            yield key, "on `gsm_symbolic`, which is generated"
    if data.is_owned:
        for key in ("data.num_train", "data.client_sizes"):
            yield key, "where the rows say whose they are: a client keeps its own"
    if data.partition != "dirichlet":
        for key in ("data.dirichlet_alpha", "data.label_column"):
            yield key, f"while `data.partition` is {data.partition}"


def _under_others(config: Config) -> Iterator[Idle]:
    """Yield what other settings of the same config leave without effect."""
    yield from _of_rows(config)
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
