"""The simulator's own overhead: an exchange's time over its time in `fine_tune`.

    python benchmarks/overhead.py            # the default recipe, five methods
    python benchmarks/overhead.py --methods all --rounds 3

What a round of the ``local`` backend takes beyond the clients' local steps goes to
cutting, packing and rebuilding models. The share is that part of the whole exchange;
the first round, in which things are made that later rounds use again, is shown apart.
"""

import argparse
import time
from dataclasses import replace

import trimwave.lm.train.client as client_module
from trimwave.lm.local import LocalBackend, clients_of
from trimwave.lm.server import LmServer
from trimwave.lm.workbench import Workbench, build_workbench
from trimwave.methods import label_of, parse_method
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import find_recipe, load_config
from trimwave.runs.comparison import method_texts


class Stopwatch:
    """Adds up the time that a function takes."""

    def __init__(self, function):
        self._function, self.total_s = function, 0.0

    def __call__(self, *args, **kwargs):
        """Call the function and count its time."""
        started = time.perf_counter()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.total_s += time.perf_counter() - started


def exchanges(bench: Workbench, method: str, rounds: int) -> list[tuple[float, float]]:
    """Return what each round's exchange took, and its local steps within [s]."""
    config = replace(bench.config, method=method)
    bench = replace(bench, config=config)
    rule = parse_method(method, config.options)
    environment = Environment.from_config(config)
    scheme = rule.scheme(bench.costs, environment.limits)
    server = LmServer(bench, scheme)
    backend = LocalBackend(server, clients_of(bench, scheme, server.template))
    found, carried = [], {}
    for number in range(1, rounds + 1):
        plan = rule.plan(
            environment.situation(number - 1, server.costs, server.num_samples, carried)
        )
        carried, watch = plan.carry, Stopwatch(client_module.fine_tune)
        client_module.fine_tune, steps = watch, watch._function
        started = time.perf_counter()
        try:
            exchange = backend.exchange(plan, number)
        finally:
            client_module.fine_tune = steps
        found.append((time.perf_counter() - started, watch.total_s))
        server.aggregate(exchange.updates, number)
    return found


def main() -> None:
    """Print a row per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--methods", default="jcpba,ubfp,fedbiot,deft,lora")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds must be at least 2: the first is shown apart")
    changes = ["data.num_test=2", "options.fedbiot.initial_steps=0"]
    config = load_config(find_recipe(arguments.recipe), changes)
    bench = build_workbench(config)
    print(
        f"{config.model.name}, {config.cell.num_clients} clients, "
        f"{config.train.num_local_steps} steps of {config.train.batch_size} a round"
    )
    print("| method | exchange [s] | steps [s] | overhead | in round 1 |")
    print("| --- | --- | --- | --- | --- |")
    for text in method_texts(arguments.methods, config.options):
        first, *later = exchanges(bench, text, arguments.rounds)
        whole_s, steps_s = (
            sum(times) / len(later) for times in zip(*later, strict=True)
        )
        print(
            f"| {label_of(text, config.options)} | {whole_s:.2f} | {steps_s:.2f} | "
            f"{1 - steps_s / whole_s:.1%} | {1 - first[1] / first[0]:.1%} |"
        )


if __name__ == "__main__":
    main()
