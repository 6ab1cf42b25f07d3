"""Which keys have no effect, against what a plan really reads."""

from dataclasses import fields, replace

import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.methods import METHODS
from trimwave.recipe import idle as idle_rules
from trimwave.recipe.config import Config
from trimwave.recipe.idle import NO_TRAINING, WITHOUT_LIMITS, idle_keys, keys_of
from trimwave.recipe.recipe import find_recipe, merge_overrides, written_keys
from trimwave.sweep.one_round import plan_cell

C5 = tuple(
    f"limits.{key}"
    for key in ("c5_xi=0.1", "c5_phi=0.6", "c5_psi=1.0", "gamma_min=0.7")
)
BY_DISTANCE = ("radio.path_loss_model=UMi", "radio.distance_m=[20, 400]")
SMALL = ("model.name=gpt2", "cell.num_clients=3", "train.seq_len=64")
OTHER = {
    "name": "other",
    "method": "lora",
    "rounds": 3,
    "seed": 1,
    "cell.num_clients": 4,
    "cell.speed_factor": [1, 1.5],
    "cell.memory_bytes": [5e9, 6e9],
    "cell.flops_per_sample": 1e9,
    "cell.joule_per_flop": 1e-11,
    "cell.up_bandwidth_hz": 5e7,
    "cell.resource_block_hz": 7.2e5,
    "limits.weighted": True,
    "radio.fading": "none",
    "radio.trace_holes": "absent",
    "radio.noise": "psd",
    "radio.path_loss_model": "UMa",
    "radio.line_of_sight": "los",
    "radio.distance_m": [50, 500],
    "train.keep_checkpoints": "all",
    "train.lora_targets": "all_linear",
    "train.update_bits": 8,
    "train.stream_prefix": True,
    "aggregate.server_optimizer": "adam",
    "aggregate.server_momentum": 0.5,
    "aggregate.server_beta2": 0.5,
    "radio.max_spectral_efficiency": 1.0,
    "limits.beta_min": 0.3,
    "limits.beta_max": 0.7,
    "limits.beta_bar": 0.4,
    "model.name": "gpt2-medium",
    "model.bits_per_param": 32,
    "model.head_passes": 1,
    "model.head": "answers",
    "data.answer_share": 0.5,
    "model.send_embeddings": True,
    "prune.criterion": "random",
    "data.source": "alpaca",
    "data.public": "alpaca",
    "data.num_train": 99,
    "data.num_test": 9,
    "data.num_public": 9,
    "data.partition": "dirichlet",
    "data.client_column": "user",
    "data.columns": ["text"],
    "data.label_column": "kind",
    "data.label_names": ["a", "b"],
    "data.template": "plain",
    "data.client_sizes": [3, 4, 5],
    "data.too_long": "drop",
    "train.precision": "fp32",
    "train.device": "cpu",
    "train.state_cache": "int8",
    "metrics.names": ["f1"],
    "net.measured": "all",
    "net.pace": False,
    "net.pace_devices": True,
    "aggregate.rule": "median",
    "aggregate.norm_limit": 3.0,
}
"""Another value of each key that is no plain number."""


def other_value(key, config):
    if key in OTHER:
        return OTHER[key]
    section, _, field = key.partition(".")
    value = getattr(getattr(config, section), field)
    if isinstance(value, str):
        return f"another{value}"
    return value * 1.25 + 0.01 if isinstance(value, float) else value + 1


def what_a_plan_reads(config):
    """Return all that `plan` and `sweep` see of a config."""
    try:
        situation, plan = plan_cell(config, config.method)
    except InputError as error:
        return str(error)
    cell = situation.cell
    arrays = {
        one.name: np.asarray(value).tolist()
        for one in fields(cell)
        if (value := getattr(cell, one.name)) is not None
    }
    costs = replace(situation.costs, lora_alpha=1.0)  # handed on to who trains
    return repr((arrays, costs, situation.limits, plan.record()))


def test_the_list_of_what_planning_never_reads_is_true(tmp_path):
    trace = tmp_path / "gains.csv"
    lines = [f"1,{k},-6{k},-7{k}" for k in range(3)]
    trace.write_text("\n".join(["round,client,gain_down_db,gain_up_db", *lines]))
    gappy = tmp_path / "gappy.csv"
    gappy.write_text("\n".join([trace.read_text(), "2,0,-60,-70", "2,1,-60,-70"]))
    clients = tmp_path / "fleet.csv"
    clients.write_text("speed_gflops,memory_gb\n100,4\n")
    keys = [key for key in keys_of(Config().to_dict()) if not key.startswith("options")]
    assert len(keys) > 50
    rows = tmp_path / "rows.csv"
    rows.write_text("user,text\n" + "a,b\n" * 4 + "b,c\nc,d\n")
    read = set()
    for key in keys:
        base = (*SMALL, *C5) if key.startswith(("limits.c5", "limits.g")) else SMALL
        if key == "radio.trace_holes":
            base = (*SMALL, f"radio.trace={gappy}")
        base = (*SMALL, *BY_DISTANCE) if key in idle_rules.BY_DISTANCE else base
        if key == "data.client_column":
            base = (*SMALL, f"data.source={rows}")
        if key == "train.stream_prefix":
            base = (*SMALL, "train.state_cache=bf16")
        if key == "data.answer_share":
            base = (*SMALL, "model.head=answers", "data.answer_share=0.25")
        if key == "aggregate.noise_multiplier":
            base = (*SMALL, "aggregate.clip_norm=1")
        config = merge_overrides(Config(), base)
        files = {"radio.trace": trace, "cell.clients": clients}
        value = str(files[key]) if key in files else other_value(key, config)
        text = str(value).lower() if isinstance(value, bool) else value
        changed = merge_overrides(config, [f"{key}={text}"])
        assert changed != config
        if what_a_plan_reads(changed) != what_a_plan_reads(config):
            read.add(key)
    found = idle_keys("plan", Config(), keys)
    idle = {key for key in found["on a plan, which trains nothing"]}
    idle.add("cell.flops_per_sample")  # read with a column of `cell.clients`
    # Read of a method that keeps states.
    idle |= {f"train.state_{one}" for one in ("cache", "memory_bytes", "disk_bytes")}
    assert idle == set(keys) - read
    assert all(any(key.startswith(one) for key in idle) for one in NO_TRAINING)


def told(command, *changes, recipe=(), also=()):
    config = merge_overrides(Config(), [*recipe, *changes])
    named, own = (
        [text.partition("=")[0] for text in part] for part in (changes, recipe)
    )
    return idle_keys(command, config, [*named, *also], own)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["data.dirichlet_alpha=1.0"], "while `data.partition` is iid"),
        (["data.dirichlet_alpha=1.0", "data.partition=dirichlet"], None),
        (
            ["prune.num_sequences=3", "prune.criterion=random"],
            "while `prune.criterion`",
        ),
        (
            ["prune.batch_size=3", "prune.criterion=magnitude"],
            "while `prune.criterion`",
        ),
        (["prune.batch_size=3"], None),
        (["prune.round_to=4", "prune.criterion=layer_drop"], "is layer_drop"),
        (["prune.round_to=4", "prune.criterion=random"], None),
        (["radio.path_loss_db=70", "radio.trace=x.csv"], "while `radio.trace` gives"),
        (["radio.fading=none", "radio.trace=x.csv"], "while `radio.trace` gives"),
        (["radio.fading=none"], None),
        (["align.steps=3"], "while `align.every_rounds` is 0"),
        (["align.steps=3", "align.initial_steps=3"], "while `align.every_rounds` is 0"),
        (["align.steps=3", "align.every_rounds=3"], None),
        (["align.kl_weight=0.3"], "`align.initial_steps` and `align.every_rounds`"),
        (["align.batch_size=3"], "`align.initial_steps` and `align.every_rounds`"),
        (["align.batch_size=3", "method=fedbiot"], None),
        (["align.initial_steps=3", "method=fedbiot"], "which has its own alignment"),
        (["options.ubfp.adapter=lora"], "on `jcpba`"),
        (["options.jcpba.adapter=lora"], None),
        (["train.learning_rate=1e-4", "method=lora"], "`lora`, which trains LoRA"),
        (["train.lora_learning_rate=1e-4", "method=lora"], None),
        (["train.lora_learning_rate=1e-4"], "`jcpba`, which trains weights"),
        (["train.lora_rank=4"], "`jcpba`, which trains weights"),
        (["train.learning_rate=1e-4", "method=ubfp:learning_rate=1"], "of its own"),
        (["train.state_disk_bytes=1e9"], "while `train.state_cache` is off"),
        (["train.state_memory_bytes=1e9", "train.state_cache=int8"], None),
        (["train.state_cache=bf16", "train.state_memory_bytes=0"], "are 0"),
        (
            [
                "train.state_cache=bf16",
                "train.state_memory_bytes=0",
                "train.state_disk_bytes=1e9",
            ],
            None,
        ),
        (["metrics.num_rows=3"], "while `metrics.every_rounds` is 0"),
        (["metrics.num_rows=3", "metrics.every_rounds=2"], None),
        (
            [
                "metrics.max_new_tokens=3",
                "metrics.every_rounds=2",
                "metrics.names=['f1']",
            ],
            "nothing to generate",
        ),
        (["aggregate.trim=0.3"], "while `aggregate.rule` is mean"),
        (["aggregate.trim=0.3", "aggregate.rule=krum"], "`aggregate.rule` is krum"),
        (["aggregate.trim=0.3", "aggregate.rule=trimmed_mean"], None),
        (["aggregate.num_malicious=2", "aggregate.rule=median"], "is median"),
        (["aggregate.num_malicious=2", "aggregate.rule=krum"], None),
        (["aggregate.clip_norm=2", "aggregate.rule=median"], None),
        (["aggregate.noise_seed=2"], "while `aggregate.noise_multiplier` is 0"),
        (["rounds=3", "data.source=alpaca", "seed=4"], None),
    ],
)
@pytest.mark.parametrize("where", ["command line", "recipe"])
def test_a_run_is_told_what_other_settings_leave_idle(changes, why, where):
    if where == "recipe":
        found = told("run", recipe=changes)
    else:
        found = told("run", *changes)
    if why is None:
        assert found == {}
        return
    ((reason, keys),) = found.items()
    assert why in reason
    assert keys == [changes[0].partition("=")[0]]


def test_only_a_run_over_a_network_reads_how_it_goes():
    changes = ("net.deadline_s=9", "net.pace=false", "aggregate.norm_limit=5")
    keys = [one.partition("=")[0] for one in changes]
    for command in ("run", "compare"):
        why = "on the `local` backend, which sends over no network"
        assert told(command, *changes) == {why: keys}
        assert told(command, recipe=changes) == {why: keys}
        assert told(command, "net.pace=true", "aggregate.norm_limit=0") == {}
    assert told("serve", *changes) == {}
    assert list(told("serve", "align.steps=3").values()) == [["align.steps"]]


def test_a_run_counts_what_a_plan_has_to_be_told():
    changes = ("model.head=answers", "data.answer_share=0.5")
    why = "on a run, which counts it in its rows"
    assert told("run", *changes) == {why: ["data.answer_share"]}
    assert told("run", recipe=changes) == told("plan", *changes) == {}


def test_a_comparison_may_run_any_method():
    changes = ("options.ubfp.adapter=lora", "train.lora_rank=4", "align.batch_size=3")
    assert told("compare", *changes) == {}
    found = told("compare", "method=ubfp", also=["methods"])
    assert list(found.values()) == [["method"]]
    assert told("compare", "method=ubfp") == {}  # it is one of those compared
    assert told("compare", recipe=("method=ubfp",)) == {}


def test_a_recipe_serves_several_commands():
    for command in ("plan", "sweep"):
        assert told(command, recipe=("rounds=3", "train.learning_rate=1e-4")) == {}
        found = told(command, "rounds=3", also=("data.max_tokens",))
        assert found == {
            "on a plan, which trains nothing": ["rounds", "data.max_tokens"]
        }
        assert told(command, "data.client_sizes=[1]", "data.num_train=9") == {}
    later = ("cell.cache_bytes=1e9", "align.every_rounds=2", "align.steps=3")
    assert told("sweep", *later) == {}  # what lies on devices in later rounds
    assert told("plan", *later) != {}
    assert told("sweep", "name=mine", "method=lora", also=["methods"]) == {
        "here, where `methods` says which": ["method"]
    }


FLEET = "client,speed_gflops,memory_gb\na,100,4\nb,200,8\n"
WITH_SNR = "speed_gflops,memory_gb,snr_down_db,snr_up_db\n1e3,4,30,20\n"


WITH_RATES = "speed_gflops,memory_gb,rate_mbps\n1e3,4,30\n1e3,4,20\n"
WITH_LOSS = "speed_gflops,memory_gb,path_loss_db\n1e3,4,80\n1e3,4,90\n"


@pytest.mark.parametrize(
    ("table", "change", "idle"),
    [
        (FLEET, "cell.speed_factor=[1,2]", True),
        (FLEET, "cell.base_speed_flops_per_s=2e12", True),
        (FLEET, "cell.memory_bytes=[1e9,2e9]", True),
        (FLEET, "cell.total_bandwidth_hz=1e7", False),
        (FLEET, "radio.path_loss_db=70", False),
        (FLEET, "radio.client_power_w=0.1", False),
        (FLEET, "data.num_train=9", False),
        (FLEET, "seed=2", False),
        (WITH_SNR, "radio.path_loss_db=70", True),
        (WITH_SNR, "radio.noise_figure_db=3", True),
        (WITH_SNR, "radio.fading=none", True),
        (WITH_SNR, "radio.noise=psd", False),
        (FLEET, "radio.carrier_hz=1e9", None),
        (WITH_RATES, "radio.noise=psd", True),
        (WITH_RATES, "cell.total_bandwidth_hz=1e7", True),
        (WITH_LOSS, "radio.path_loss_db=70", True),
        (WITH_LOSS, "radio.path_loss_model=UMa", True),
        (WITH_LOSS, "radio.server_power_w=1.0", False),
        (WITH_LOSS, "radio.fading=none", False),
        (WITH_SNR, "radio.client_power_w=0.1", False),
        (
            WITH_SNR.replace("up_db", "up_db,power_tx_w").replace("20", "20,0.1"),
            "radio.client_power_w=0.1",
            True,
        ),
        (WITH_SNR, "seed=2", True),
        (
            WITH_SNR.replace("snr_up_db", "snr_up_db,num_samples").replace(
                "20", "20,5"
            ),
            "data.num_train=9",
            True,
        ),
    ],
)
def test_what_a_fleet_leaves_idle(tmp_path, table, change, idle):
    path = tmp_path / "fleet.csv"
    path.write_text(table)
    clients = f"cell.clients={path}"
    found = told("plan", change, recipe=[clients])
    why = "beside fleet.csv, which gives the clients"
    if idle is None:
        idle, why = True, "while `radio.path_loss_model` is fixed"
    assert found == ({why: [change.partition("=")[0]]} if idle else {})
    # What is told to have no effect has none, and what is not has some.
    before = merge_overrides(Config(), ["model.name=gpt2", clients])
    after = merge_overrides(before, [change])
    if idle:
        plans = [plan_cell(one, one.method)[1] for one in (before, after)]
        assert plans[0].record() == plans[1].record()
    else:
        assert what_a_plan_reads(before) != what_a_plan_reads(after)


def test_each_key_is_told_once(tmp_path):
    path = tmp_path / "fleet.csv"
    path.write_text(WITH_SNR)
    changes = ("radio.path_loss_db=70", "radio.fading=none", "data.dirichlet_alpha=1.0")
    found = told("plan", f"cell.clients={path}", *changes, also=["--round"])
    assert found == {
        "on a plan, which trains nothing": ["data.dirichlet_alpha"],
        "beside fleet.csv, which gives the clients": [
            "radio.fading",
            "--round",
            "radio.path_loss_db",
        ],
    }


def test_keys_of_this_package_are_not_the_users(tmp_path):
    path = tmp_path / "mine.toml"
    base = tmp_path / "base.toml"
    base.write_text('extends = "gpt2-medium"\n[data]\ndirichlet_alpha = 1.0\n')
    path.write_text(
        'extends = "base.toml"\nrounds = 3\n[options.ubfp]\nadapter = "lora"'
    )
    named, own = written_keys(path, ["seed=3", "cell={num_clients = 3}"])
    assert named == ["seed", "cell.num_clients"]
    assert own == ["data.dirichlet_alpha", "rounds", "options.ubfp.adapter"]
    assert written_keys(find_recipe("letter/fig4"), []) == ([], [])


@pytest.mark.parametrize("method", METHODS)
def test_the_list_of_methods_without_limits_is_true(method):
    config = merge_overrides(Config(), SMALL)
    other = ["limits.beta_min=0.3", "limits.beta_max=0.6", "limits.beta_bar=0.35"]
    plans = [
        plan_cell(one, method)[1] for one in (config, merge_overrides(config, other))
    ]
    same = np.array_equal(plans[0].down_bits, plans[1].down_bits)
    assert same == (method in WITHOUT_LIMITS)
