import pytest
import torch
from tiny_run import (
    changed,
    clients,
    held,
    make_bench,
    make_server,
    plan_of,
    trained_of,
)

from trimwave.lm.surgery.split import block_sources
from trimwave.lm.train.proximal import proximal_term
from trimwave.lm.wire.ledger import is_factor, trained_parameters

RATE = 1e-3
UNALIGNED = "initial_steps=0:steps=0"


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """A workbench per architecture, in fp32 so that nothing is rounded."""
    folder = tmp_path_factory.mktemp("proximal")
    changes = ["model.bits_per_param=32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield {
            kind: make_bench(folder / kind, kind, changes) for kind in ("llama", "gpt2")
        }


@pytest.fixture(params=["llama", "gpt2"])
def bench(request, benches):
    return benches[request.param]


@pytest.fixture(params=["lora", "full"])
def adapter(request):
    return request.param


def shaken(server, seed=1, scale=1e-2):
    """Move what a server trains at random, and return its split model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in trained_parameters(server.template).values():
            value.add_(scale * torch.randn(value.shape, generator=generator))
    return server.template


def effective(split):
    """Return the adapter's matrices with LoRA factors merged in, by PEFT itself."""
    weights = {}
    for block, source in zip(
        split.adapter, block_sources(split.adapter, split.arch), strict=True
    ):
        for path, module in block.named_modules():
            if hasattr(module, "get_delta_weight"):
                delta = module.get_delta_weight("default")
                weights[f"{source}.{path}"] = module.base_layer.weight + delta
    trained = trained_parameters(split)
    plain = {name: value for name, value in trained.items() if not is_factor(name)}
    return {name: v.detach().clone() for name, v in {**weights, **plain}.items()}


def distance(split, before):
    """Squared distance of the effective weights to earlier ones."""
    now = effective(split)
    return sum(float((now[name] - before[name]).square().sum()) for name in before)


def test_the_proximal_term_is_zero_at_the_start_and_pulls_afterwards(bench, adapter):
    server = make_server(bench, f"fedbiot:adapter={adapter}")
    split = shaken(server)  # factors of the second kind start at zero
    term = proximal_term(split, 0.7)
    assert float(term().detach()) == 0.0
    shaken(server, seed=2)
    value = term()
    assert value.detach() > 0
    value.backward()
    # In the released code the tensors compared are detached: no gradient at all.
    for name, parameter in trained_parameters(split).items():
        assert parameter.grad.abs().max() > 0, name


def test_the_proximal_term_is_the_distance_of_effective_weights(bench, adapter):
    server = make_server(bench, f"fedbiot:adapter={adapter}")
    split = shaken(server)
    before, term = effective(split), proximal_term(split, 0.7)
    shaken(server, seed=2)
    expected = 0.7 * distance(split, before)
    assert float(term().detach()) == pytest.approx(expected, rel=1e-4)


def test_the_proximal_gradient_by_finite_differences(bench, adapter):
    server = make_server(bench, f"fedbiot:adapter={adapter}")
    split = shaken(server)
    trained = trained_parameters(split)
    for value in trained.values():  # the others are shared with the workbench
        value.data = value.data.double()
    term = proximal_term(split, 0.7)
    shaken(server, seed=2)
    term().backward()
    generator = torch.Generator().manual_seed(3)
    for name, value in trained.items():  # every tensor alone
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        ends = []
        with torch.no_grad():
            for step in (1e-4, -2e-4):
                value.add_(way, alpha=step)
                ends.append(float(term()))
            value.add_(way, alpha=1e-4)
        slope = (ends[0] - ends[1]) / 2e-4
        assert float((value.grad * way).sum()) == pytest.approx(slope, rel=1e-6), name


def test_the_proximal_gradient_of_full_weights_by_hand(bench):
    server = make_server(bench, "fedbiot:adapter=full")
    before, term = trained_of(server), proximal_term(server.template, 0.7)
    shaken(server)
    term().backward()
    for name, value in trained_parameters(server.template).items():
        expected = 2 * 0.7 * (value.detach() - before[name])
        torch.testing.assert_close(value.grad, expected)


@pytest.mark.slow
def test_a_large_epsilon_holds_the_adapter(bench, adapter):
    bench = changed(
        bench,
        "train.num_local_steps=20",
        f"train.learning_rate={RATE}",
        f"train.lora_learning_rate={RATE}",
    )
    moved, largest = {}, {}
    for epsilon in (0.0, 1.0, 1e6):
        method = f"fedbiot:{UNALIGNED}:adapter={adapter}:epsilon={epsilon}"
        server = make_server(bench, method)
        submodel = plan_of(bench, server, method).submodels[0]
        assert submodel.proximal_weight == epsilon
        before = effective(server.template)
        package = held(server, submodel)
        update = clients(server)[0].fine_tune(package, submodel, 1)
        server.aggregate([update], 1)
        moved[epsilon] = distance(server.template, before) ** 0.5
        now = effective(server.template)
        largest[epsilon] = max(float((now[n] - before[n]).abs().max()) for n in now)
    assert moved[0.0] > 1.5 * moved[1.0] > 15 * moved[1e6] > 0
    if adapter == "full":
        assert largest[1e6] < 1.5 * RATE < 8 * RATE < largest[0.0]
