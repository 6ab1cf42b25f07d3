"""Local training alone, for `faster.py`: states kept, and transformers' Trainer beside.

Every contender runs in a process of its own, one after another, on the same rows in the
same order: its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from net_tables import heads, show

from trimwave.lm.local import LocalBackend, clients_of
from trimwave.lm.server import LmServer
from trimwave.lm.workbench import build_workbench
from trimwave.methods import ask_plan, ask_stages, parse_method
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import find_recipe, load_config, merge_overrides

ROWS, EPOCHS, BATCH = 24, 3, 2


def bench_of(data, method, *changes):
    """Return a workbench of one client, whose rounds are epochs."""
    config = load_config(find_recipe("best/lora"), [])
    return build_workbench(
        merge_overrides(
            config,
            [
                f'method="{method}"',
                f'data.source="{data}"',
                "cell.num_clients=1",
                f"data.num_train={ROWS}",
                "data.num_test=4",
                "data.num_public=8",
                f"train.batch_size={BATCH}",
                f"train.num_local_steps={ROWS // BATCH}",
                "train.precision=fp32",
                *changes,
            ],
        )
    )


def ours(data, blocks, cache):
    """Train epochs as a client does; seconds, tokens and counts of each."""
    method = f"lora:blocks={blocks}" if blocks else "lora"
    bench = bench_of(data, method, f"train.state_cache={cache}")
    environment = Environment.from_config(bench.config)
    rule = parse_method(method)
    (stage,) = ask_stages(rule, bench.costs, environment.limits)
    server = LmServer(bench, stage.scheme)
    backend = LocalBackend(server, clients_of(bench, stage.scheme, server.template))
    situation = environment.situation(0, server.costs, bench.num_samples)
    plan = ask_plan(rule, situation, stage.scheme)
    epochs = []
    for number in range(1, EPOCHS + 1):
        started = time.perf_counter()
        exchange = backend.exchange(plan, number)
        took_s = time.perf_counter() - started
        server.aggregate(exchange.updates, number)
        epochs.append(
            {
                "s": took_s,
                "loss": exchange.updates[0].train_loss,
                "fresh_rows": exchange.updates[0].fresh_rows,
            }
        )
    states = backend._clients[0].states
    return {
        "epochs": epochs,
        "tokens": sum(len(row.input_ids) for row in bench.client_rows[0]),
        "state_bytes": states.used_bytes if states else 0,
    }


def theirs(data):
    """Train the same rows with transformers' Trainer and PEFT's LoRA."""
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from trimwave.lm.data.encode import collate

    bench = bench_of(data, "lora")
    rows, train = list(bench.client_rows[0]), bench.config.train
    model = get_peft_model(
        bench.split.joined(),
        LoraConfig(
            task_type="CAUSAL_LM",
            r=train.lora_rank,
            lora_alpha=train.lora_alpha,
            target_modules="all-linear",
        ),
    )
    ends = []

    class Watch(TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            ends.append(time.perf_counter())

        def on_epoch_end(self, *_, **__):
            ends.append(time.perf_counter())

    def batch_of(items):
        batch = collate(items, bench.pad_id)
        mask = torch.zeros_like(batch.input_ids)
        for at, item in enumerate(items):
            mask[at, : len(item.input_ids)] = 1
        return {
            "input_ids": batch.input_ids,
            "labels": batch.labels,
            "attention_mask": mask,
        }

    arguments = TrainingArguments(
        output_dir="/tmp/trimwave-trainer",
        per_device_train_batch_size=BATCH,
        num_train_epochs=EPOCHS,
        learning_rate=train.lora_learning_rate,
        lr_scheduler_type="constant",
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        report_to=[],
        save_strategy="no",
        logging_strategy="epoch",
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=batch_of,
        callbacks=[Watch()],
    )
    trainer.train()
    pairs = zip(ends[::2], ends[1::2], strict=True)
    logged = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    return {
        "epochs": [
            {"s": end - start, "loss": loss}
            for (start, end), loss in zip(pairs, logged, strict=True)
        ],
        "tokens": sum(len(row.input_ids) for row in rows),
    }


def measured(*words):
    """Run a contender in a process of its own."""
    argv = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def trainer_table(asked):
    """Print tokens per second of the first epoch and of later ones."""
    data, contenders = (
        asked.data,
        {"Trainer, PEFT LoRA": ("theirs", asked.data, 0, "off")},
    )
    contenders["LoRA on all blocks"] = ("ours", data, 0, "off")
    for blocks in asked.blocks:
        for cache in ("off", "bf16", "int8"):
            name = f"top {blocks}, states {cache}"
            contenders[name] = ("ours", data, blocks, cache)
    heads(
        *("", "tokens/s, 1st epoch", "later", "beside the Trainer, later"),
        *("peak MiB", "train loss by epoch"),
    )
    base = None
    for name, words in contenders.items():
        found = measured(*words)
        first, *later = (found["tokens"] / one["s"] for one in found["epochs"])
        steady = max(later)
        base = base or steady
        losses = ", ".join(f"{one['loss']:.3f}" for one in found["epochs"])
        show(
            *(name, f"{first:.0f}", f"{steady:.0f}", f"{steady / base:.2f}"),
            *(f"{found['peak_mib']:.0f}", losses),
        )


def states_table(asked):
    """Print what states take, and how many rows have one, epoch by epoch."""
    heads(
        *("numbers", "bytes of a row", "by hand", "tokens of a row"),
        *("rows computed by epoch", "losses"),
    )
    hidden = 576
    by_hand = {"fp32": 4 * hidden, "bf16": 2 * hidden, "int8": hidden + 4}
    for cache, token_bytes in by_hand.items():
        found = measured("ours", asked.data, asked.blocks[0], cache)
        tokens = found["tokens"] / ROWS
        show(
            *(cache, f"{found['state_bytes'] / ROWS:.0f}"),
            *(f"{tokens * token_bytes:.0f}", f"{tokens:.1f}"),
            ", ".join(str(one["fresh_rows"]) for one in found["epochs"]),
            ", ".join(f"{one['loss']:.4f}" for one in found["epochs"]),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("who", choices=("ours", "theirs"))
    parser.add_argument("data")
    parser.add_argument("blocks", type=int)
    parser.add_argument("cache")
    asked = parser.parse_args()
    if asked.who == "ours":
        found = ours(asked.data, asked.blocks, asked.cache)
    else:
        found = theirs(asked.data)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**found, "peak_mib": peak_kib / 1024}))


if __name__ == "__main__":
    main()
