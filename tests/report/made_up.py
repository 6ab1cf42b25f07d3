"""Records of made-up runs, and the cells of the table that is made of them."""

import builtins

import numpy as np

from trimwave.report.summary import numbers_of, table
from trimwave.report.target import choose_target

MIB = 2**20
LABELS = (
    "JCPBA*",
    "JCPBA",
    "UBFP",
    "FedBiOT",
    "DEFT",
    "Split LoRA",
    "LoRA",
    "LoRA uniform",
    "FedQLoRA",
    "Budget",
    "Personalised",
)


def record(number, virtual_s, emulator, full):
    """Two clients, both in the round."""
    return {
        "round": number,
        "virtual_s": virtual_s,
        "round_s": 2.0 * number,
        "loss_emulator": emulator,
        "loss_full": full,
        "train_loss": 1.0,
        "client_train_loss": [1.0, 1.0],
        "down_bytes": 8 * number * MIB,
        "up_bytes": 2 * number * MIB,
        "total_flops": number * 6 * 10**9,
        "plan": {
            "scheduled": [True, True],
            "prune_rate": [0.1 * number, 0.3 * number],
            "memory_bytes": [10**9 * number, 5 * 10**8],
            "install_s": 7.5,
            "straggler": 1,
        },
    }


def run(shift=0.0):
    """Two rounds of two clients, and the state before them."""
    start = {"round": 0, "virtual_s": 0.0, "loss_emulator": 3.0, "loss_full": 2.5}
    return [
        start,
        record(1, 2.0, 2.0 + shift, 1.75),
        record(2, 6.0, 1.5 + shift, 1.25),
    ]


def run_with(losses, step_s=1.0, untrained=2.5, emulator_shift=0.5):
    """Losses of the full model per round; every round takes `step_s`."""
    start = {"round": 0, "virtual_s": 0.0, "loss_full": untrained}
    start["loss_emulator"] = untrained + emulator_shift
    return [start] + [
        record(number, step_s * number, loss + emulator_shift, loss)
        for number, loss in enumerate(losses, start=1)
    ]


def cells_of(results):
    """Return a table as label to title to cell, numbers without white space."""
    target = choose_target(results)
    shown = table(numbers_of(results, target), target)
    methods, *others = [[str(one.header), *one.cells] for one in shown.columns]
    columns = [methods, *(["".join(cell.split()) for cell in one] for one in others)]
    (_, *titles), *rows = zip(*columns, strict=True)
    return {label: dict(zip(titles, row, strict=True)) for label, *row in rows}


# The best of the first four of five rounds: 1.5 (round 3) and 1.9 (round 4).
FAST = [2.0, 1.9, 1.5, 1.6, 1.2]
SLOW = [2.4, 2.2, 2.0, 1.9, 1.1]


def full_set(num_seeds, num_rounds=20):
    """Return every method with numbers as wide as they come."""
    rng = np.random.default_rng(0)
    results = {}
    for place, label in enumerate(LABELS):
        runs = results.setdefault(label, [])
        for seed in range(num_seeds):
            noise = rng.uniform(0, 0.05, num_rounds)
            losses = 2.4 + 0.2 * seed - np.linspace(0.1, 1.0, num_rounds) - noise
            step_s = 97.31 * (1 + 0.1 * seed) * (1 + place)
            runs.append(run_with(losses.tolist(), step_s, untrained=2.5 + 0.2 * seed))
            for entry in runs[-1][1:]:
                entry |= {"round_s": 123.4, "down_bytes": 2 * 1234 * MIB}
                entry |= {"up_bytes": 2 * 123 * MIB, "total_flops": 10**13}
                entry["plan"] |= {"install_s": 1234.5, "memory_bytes": [12 * 10**9, 0]}
    return results


def no_matplotlib(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
