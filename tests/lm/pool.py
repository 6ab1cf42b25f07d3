"""A second backend, over two processes: it shows that the protocols are enough.

Of the server it uses `deliver` alone; only safetensors and plain numbers cross to a
worker, which builds its clients from the config as a device would.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context

import torch
from safetensors.torch import load, save

from trimwave.lm.local import clients_of
from trimwave.lm.train.client import Update
from trimwave.lm.wire.package import Wire
from trimwave.lm.workbench import build_workbench
from trimwave.methods import parse_method
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import config_from_dict
from trimwave.recipe.seen import ALL_AS_DRAWN
from trimwave.runs.roles import Exchange


def start_pool(config):
    """Start two workers that hold the rows and the model of a config."""
    return ProcessPoolExecutor(
        2, get_context("spawn"), initializer=_start, initargs=(config.to_dict(),)
    )


class PoolBackend:
    """Trains the clients of a round in a pool's processes; `roles.Backend`."""

    def __init__(self, server, config, pool):
        self._server, self._config, self._pool = server, config, pool

    def look(self):
        """Everyone is there."""
        return ALL_AS_DRAWN

    def save(self, folder):
        """Nothing: processes keep nothing between rounds."""

    def exchange(self, plan, round_index):
        """Send, train, collect."""
        jobs = {}
        for k, submodel in enumerate(plan.submodels):
            if submodel is None:
                continue
            delivery = self._server.deliver(submodel)
            wire = Wire.fitting(delivery.sent, self._config.model.bits_per_param)
            installed = save({n: t.contiguous() for n, t in delivery.installed.items()})
            package = wire.encode(delivery.sent), installed
            method = self._config.method
            jobs[k] = self._pool.submit(
                _work, method, k, package, submodel, round_index
            )
        done = {k: job.result() for k, job in jobs.items()}
        updates = [
            Update(client=k, delta=load(delta), train_loss=loss, num_samples=rows)
            for k, (delta, loss, rows) in done.items()
        ]
        losses = [done[k][1] if k in done else None for k in range(plan.num_clients)]
        return Exchange(updates=updates, train_loss=losses)


_bench = None


def _start(plain):
    global _bench
    torch.set_num_threads(1)
    _bench = build_workbench(config_from_dict(plain, "the pool"))


@cache
def _clients(method):
    bench = replace(_bench, config=replace(_bench.config, method=method))
    rule = parse_method(method, bench.config.options)
    return clients_of(bench, rule.scheme(bench.costs, limits_of(bench.config)))


def _work(method, k, package, submodel, round_index):
    sent, installed = map(load, package)
    update = _clients(method)[k].fine_tune(installed | sent, submodel, round_index)
    delta = {name: value.contiguous() for name, value in update.delta.items()}
    return save(delta), update.train_loss, update.num_samples
