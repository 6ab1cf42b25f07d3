import json
from dataclasses import replace

import pytest
from pool import PoolBackend, start_pool
from tiny_run import (
    METHODS,
    clients,
    make_bench,
    make_server,
    same_tensors,
    trained_of,
)

from trimwave.lm.local import LocalBackend
from trimwave.methods import parse_method
from trimwave.recipe.environment import Environment
from trimwave.runs.records import Run
from trimwave.runs.rounds import run_rounds


class OnlyTheProtocol:
    """A server of which a backend sees `deliver` and nothing else."""

    def __init__(self, server):
        self.deliver = server.deliver


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield make_bench(folder)


@pytest.fixture(scope="module")
def pool(bench):
    with start_pool(bench.config) as pool:
        yield pool


def ran(bench, method, folder, backend_of):
    """Run two rounds; return the records and what was trained."""
    bench = replace(bench, config=replace(bench.config, method=method))
    server = make_server(bench, method)
    backend = backend_of(server, bench.config)
    records = run_rounds(
        Environment.from_config(bench.config),
        parse_method(method),
        server,
        backend,
        Run.create(folder, bench.config, {}),
        num_rounds=2,
    )
    return json.dumps(records), trained_of(server)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, "split_lora"])
def test_two_processes_give_the_same_run(bench, pool, tmp_path, method):
    if method.startswith("fedqlora"):
        pytest.importorskip("bitsandbytes")
    here, trained_here = ran(
        bench,
        method,
        tmp_path / "local",
        lambda server, config: LocalBackend(OnlyTheProtocol(server), clients(server)),
    )
    there, trained_there = ran(
        bench,
        method,
        tmp_path / "pool",
        lambda server, config: PoolBackend(OnlyTheProtocol(server), config, pool),
    )
    assert there == here
    assert same_tensors(trained_there, trained_here)
