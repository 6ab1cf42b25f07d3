import json
from dataclasses import replace

import pytest
from pool import PoolBackend, start_pool
from tiny_run import (
    METHODS,
    clients,
    make_server,
    run_with,
    same_tensors,
    trained_of,
)

from trimwave.lm.local import LocalBackend


class OnlyTheProtocol:
    """A server of which a backend sees `deliver` and nothing else."""

    def __init__(self, server):
        self.deliver = server.deliver


@pytest.fixture(scope="module")
def pool(bench):
    with start_pool(bench.config) as pool:
        yield pool


def ran(bench, method, folder, backend_of):
    """Run two rounds; return the records and what was trained."""
    bench = replace(bench, config=replace(bench.config, method=method))
    server = make_server(bench, method)
    records = run_with(bench, server, backend_of(server, bench.config), folder)
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
