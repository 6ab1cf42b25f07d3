"""A whole run in miniature: random model, rows, recipe, and ways to break it off."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from tokenizer import byte_tokenizer

from trimwave.decision.plan import Situation
from trimwave.lm.local import LocalBackend, clients_of
from trimwave.lm.server import LmServer
from trimwave.lm.wire.ledger import trained_parameters
from trimwave.lm.workbench import build_workbench
from trimwave.methods import ask_plan, ask_stages, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import config_from_dict, merge_overrides
from trimwave.runs.records import Run
from trimwave.runs.rounds import run_rounds

SIZES = {"vocab_size": 258, "bos_token_id": 0, "eos_token_id": 1}
KINDS = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64},
}


METHODS = (
    "jcpba",
    "jcpba:adapter=lora",
    "fedbiot:initial_steps=1:steps=1",
    "deft",
    "lora",
    "fedqlora:bits=mixed",
)
"""One of each kind of sub-model whose blocks run on the device."""


def save_model(folder, kind="llama", **changes):
    """Write a random model and the byte tokenizer as a Hugging Face folder."""
    fields = {**SIZES, **KINDS[kind], **changes}
    config = transformers.AutoConfig.for_model(kind, **fields)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(str(folder))
    byte_tokenizer().save_pretrained(str(folder))
    return folder


def write_rows(path, count=60):
    """Write sums of two digits as questions and answers."""
    rows = (
        {"question": f"{i % 10} + {i // 10}?", "answer": str(i % 10 + i // 10)}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tree(model, rows):
    """Return the recipe of the miniature, as a nested dict."""
    return {
        "name": "tiny",
        "rounds": 4,
        "cell": {"num_clients": 3, "total_bandwidth_hz": 1e6},
        "limits": {"beta_min": 0.1, "beta_max": 0.7, "beta_bar": 0.4},
        "model": {"name": str(model), "adapter_blocks": 1},
        "prune": {
            "criterion": "magnitude",
            "round_to": 4,
            "min_neurons": 4,
            "num_sequences": 4,
        },
        "data": {
            "source": str(rows),
            "num_train": 24,
            "num_test": 6,
            "num_public": 6,
            "max_tokens": 48,
        },
        "train": {
            "num_local_steps": 2,
            "batch_size": 2,
            "seq_len": 48,
            "learning_rate": 1e-3,
            "lora_learning_rate": 1e-3,
            "device": "cpu",
        },
    }


def make_config(folder, kind="llama", changes=(), **fields):
    """Write model and rows below a folder and return the config that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    model = save_model(folder / "model", kind, **fields)
    rows = write_rows(folder / "rows.jsonl")
    return merge_overrides(config_from_dict(tree(model, rows), "tiny"), changes)


def make_bench(folder, kind="llama", changes=(), **fields):
    """Return the workbench of a miniature run."""
    return build_workbench(make_config(folder, kind, changes, **fields))


def make_server(bench, method="jcpba"):
    """Return a server of its own for a method, over a shared workbench."""
    rule = parse_method(method, bench.config.options)
    stages = ask_stages(rule, bench.costs, limits_of(bench.config))
    scheme, *later = [stage.scheme for stage in stages]
    return LmServer(bench, scheme, later=later)


def run_with(bench, server, backend, folder, num_rounds=2):
    """Run a bench's method over a backend in a folder, or go on with what it holds."""
    begun = (folder / "manifest.json").exists()
    return run_rounds(
        Environment.from_config(bench.config),
        parse_method(bench.config.method, bench.config.options),
        server,
        backend,
        Run.open(folder) if begun else Run.create(folder, bench.config, {}),
        num_rounds=num_rounds,
    )


def fresh_rows_of(folder):
    """Return what a run's folder says was computed of rows, round by round."""
    return [one["fresh_rows"] for one in Run.open(folder).timings()[1:]]


def clients(server):
    """Return the devices of a server's run."""
    return clients_of(server.bench, server.scheme, server.template)


def plan_of(bench, server, method="jcpba", limits=None):
    """Return a method's plan of the first round."""
    cell = Environment.from_config(bench.config).cell(0, server.num_samples)
    limits = limits or limits_of(bench.config)
    situation = Situation(cell=cell, costs=server.costs, limits=limits)
    return ask_plan(parse_method(method, bench.config.options), situation)


def changed(bench, *changes):
    """Return the workbench with another config; it prunes and ranks as before."""
    return replace(bench, config=merge_overrides(bench.config, changes), _stored={})


def exchanged(bench, method):
    """Return a new server, its plan and what its clients sent in the first round."""
    server = make_server(bench, method)
    plan = plan_of(bench, server, method)
    exchange = LocalBackend(server, clients(server)).exchange(plan, 1)
    return server, plan, exchange.updates


def held(server, submodel):
    """Return what a client has of a sub-model: stored, and sent in this round."""
    return server.deliver(submodel).installed | server.deliver(submodel).sent


def state_of(bench):
    """Return copies of all that a workbench shares, by name."""
    split = bench.split
    parts = {
        "blocks": split.split_at(0).adapter,
        "shell": split.shell,
        "planned": bench.reference_emulator,
    }
    tensors = {}
    for part, module in parts.items():
        for name, value in module.named_parameters():
            assert not value.requires_grad and value.grad is None
            tensors[f"{part}.{name}"] = value.detach().clone()
    return tensors


def trained_of(server):
    """Return copies of what a server trains, by name."""
    trained = trained_parameters(server.template)
    return {name: value.detach().clone() for name, value in trained.items()}


def same_tensors(one, other):
    """Whether two dicts of tensors are the same, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )


def write_toml(path, config):
    """Write what a config has beside the defaults, as a recipe that reads back."""
    default = Config(name="default").to_dict()
    lines, tables = [], []
    for key, value in config.to_dict().items():
        if isinstance(value, dict):
            tables += [f"[{key}]", *_assignments(value, default[key])]
        else:
            lines += _assignments({key: value}, default)
    path.write_text("\n".join([*lines, *tables]) + "\n")
    return path


def _assignments(values, default):
    return [
        f"{key} = {'inf' if value == float('inf') else json.dumps(value)}"
        for key, value in values.items()
        if value != default.get(key)
    ]


def bytes_of(folder):
    """Return what must be the same bits for the same seed, by file name."""
    newest = max((folder / "checkpoints").glob("round-*"))
    files = [folder / "rounds.jsonl", *sorted(newest.glob("*.safetensors"))]
    return {file.name: file.read_bytes() for file in files}


def python(script, *arguments, **popen):
    """Start a Python process with one thread; the caller waits for it."""
    start = "import torch; torch.set_num_threads(1)\n"
    command = [sys.executable, "-W", "ignore", "-c", start + script]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    here = Path(__file__).parent
    return subprocess.Popen(
        [*command, *map(str, arguments)], **{**pipes, "cwd": here, **popen}
    )
