"""Keys that a user wrote and that have no effect on what was asked for.

A recipe serves several commands, so a key that a command never reads is idle only where
it was named for that command; one that is idle under another setting always is.
"""

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

from trimwave.base.errors import InputError
from trimwave.methods import METHODS, name_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import fleet_of
from trimwave.recipe.idle_settings import Idle, under_others
from trimwave.recipe.traces import trace_of

Command = Literal["run", "serve", "compare", "plan", "sweep", "measure"]
"""What was asked for; "serve" is a run over a network, whatever began it."""

WITHOUT_LIMITS = ("deft", "fedbiot", "fedqlora", "lora", "split_lora", "staged")
"""Methods that prune by no rule of C4 and C5."""

SEVERAL = ("compare", "sweep")
"""Commands with several methods; the others have the config's."""

NO_TRAINING = (
    *("name", "rounds", "prune.", "aggregate.", "align.", "metrics.", "net."),
    *("model.revision", "data.source", "data.configuration", "data.revision"),
    *("data.public", "data.num_test", "data.num_public"),
    *("data.partition", "data.dirichlet_alpha", "data.max_tokens", "data.too_long"),
    *("data.columns", "data.label_column", "data.label_names", "data.template"),
    *("train.learning_rate", "train.lora_learning_rate", "train.weight_decay"),
    *("train.max_grad_norm", "train.lora_alpha", "train.precision", "train.device"),
    *("train.patience", "train.keep_checkpoints", "cell.cache_bytes"),
)
"""What planning never reads, but for `READ_OF_OWNED`."""

READ_BY_SWEEPS = ("name", "align.", "cell.cache_bytes")
"""What a sweep reads of it: its folder's name, what lies on devices in later rounds."""

READ_OF_OWNED = ("data.source", "data.partition", "data.columns")
"""What planning reads where the rows say whose they are."""

NOT_MEASURED = (
    *("method", "rounds", "radio.", "aggregate.", "align.", "options.", "net."),
    *("cell.cache_bytes", "train.num_local_steps"),
    *("train.learning_rate", "train.lora_learning_rate", "train.weight_decay"),
    *("train.max_grad_norm", "train.lora_rank", "train.lora_alpha"),
    "train.lora_targets",
    *("train.state_cache", "train.state_memory_bytes", "train.state_disk_bytes"),
)
"""What `trimwave measure` never reads."""

RADIO_OF_LINKS = (
    *("server_power_w", "fading"),
    *("noise_psd_dbm_per_hz", "noise_figure_db"),
)
"""Keys of `radio` that a table with both links leaves without effect."""


BY_DISTANCE = tuple(
    f"radio.{key}"
    for key in ("path_loss_model", "line_of_sight", "carrier_hz", "distance_m")
)
"""Keys of the path loss by distance."""

OF_THE_BAND = (
    *("radio.noise", "radio.max_spectral_efficiency", "cell.total_bandwidth_hz"),
    "cell.resource_block_hz",
)
"""Keys that only clients with a share of the band read."""


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
        Keys that the command line names, such as ``data.partition``; ``methods``
        where it says which are compared.
    in_recipe : collection of str
        Keys that the user's own recipe names.
    """
    found: dict[str, list[str]] = {}
    told: set[str] = set()
    written = [*dict.fromkeys([*named, *in_recipe])]
    for rules, keys in (
        (_unread_by(command, config, named), list(named)),
        (_beside_fleet(command, config), written),
        (_beside_trace(config, written), written),
        (_over_no_network(command, config), written),
        (under_others(config), written),
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


def _unread_by(
    command: Command, config: Config, named: Collection[str]
) -> Iterator[Idle]:
    if command in ("plan", "sweep"):
        for key in NO_TRAINING:
            if command == "sweep" and key in READ_BY_SWEEPS:
                continue
            if not (config.data.is_owned and key in READ_OF_OWNED):
                yield key, "on a plan, which trains nothing"
    if command in ("run", "serve", "compare") and config.model.head == "answers":
        yield "data.answer_share", "on a run, which counts it in its rows"
    if command == "measure":
        for key in NOT_MEASURED:
            yield key, "on a measurement, which plans and trains nothing"
    if command in SEVERAL and "methods" in named:
        yield "method", "here, where `methods` says which"


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
    if fleet.gives("power_tx_w"):
        keys.append("radio.client_power_w")
    if fleet.gives("joule_per_flop"):
        keys.append("cell.joule_per_flop")
    if fleet.fixes_links:
        keys += [f"radio.{key}" for key in RADIO_OF_LINKS] + ["--round"]
        if command == "plan" and fleet.gives("memory_bytes"):
            keys.append("seed")
    if all(fleet.links.values()):
        keys += ["radio.path_loss_db", "radio.distance_m"]
        if not fleet.gives("distance_m"):
            keys += BY_DISTANCE
    if fleet.gives_rates:
        keys += [*OF_THE_BAND]
    for key in keys:
        yield key, f"beside {fleet.found.path.name}, which gives the clients"


def _beside_trace(config: Config, written: Collection[str]) -> Iterator[Idle]:
    """Yield what a trace, or that there is none, leaves without effect."""
    if not config.radio.trace:
        if "radio.trace" not in written:  # else a sweep varies it
            yield "radio.trace_holes", "without `radio.trace`"
        return
    keys = [*BY_DISTANCE, "radio.path_loss_db", "radio.fading"]
    try:
        trace, _ = trace_of(config)
    except InputError:
        trace = None  # told when the trace is read
    if trace and trace.kind != "gain_db":
        keys += [f"radio.{one}" for one in RADIO_OF_LINKS]
    if trace and trace.kind == "rate_bps":
        keys += [*OF_THE_BAND]
    if trace and trace.speed_flops_per_s is not None:
        keys += ["cell.base_speed_flops_per_s", "cell.speed_factor"]
    for key in keys:
        yield key, "while `radio.trace` gives that"


def _over_no_network(command: Command, config: Config) -> Iterator[Idle]:
    """Yield what says how a run goes over a network, on one that does not."""
    if command in ("run", "compare"):
        keys = [f"net.{one.name}" for one in fields(config.net)]
        for key in (*keys, "aggregate.norm_limit"):
            section, _, name = key.partition(".")
            set_ = getattr(getattr(config, section), name)
            if set_ != getattr(getattr(Config(), section), name):
                yield key, "on the `local` backend, which sends over no network"


def _of_the_method(config: Config) -> Iterator[Idle]:
    """Yield what the one method that runs or is planned leaves without effect."""
    name = name_of(config.method)
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
    trained = getattr(method, "adapter", "lora" if name in METHODS else None)
    if trained is None:
        return  # a rule of the user's own, whose training is not known here
    if trained == "lora":
        yield f"train.{rate}", f"on `{name}`, which trains LoRA factors"
        return
    for key in (f"lora_{rate}", "lora_rank", "lora_alpha", "lora_targets"):
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


SAID = {"seed": "--seed", "--round": "--round"}
"""What a user calls keys that are options of the command line."""


def warn_of_keys(
    command: Command,
    config: Config,
    named: Collection[str],
    in_recipe: Collection[str] = (),
    *,
    stacklevel: int = 3,
) -> None:
    """Warn of written keys that have no effect; parameters as of `idle_keys`."""
    for why, keys in idle_keys(command, config, named, in_recipe).items():
        words = ", ".join(SAID.get(key, f"`{key}`") for key in keys)
        warnings.warn(f"without effect {why}: {words}.", stacklevel=stacklevel)
