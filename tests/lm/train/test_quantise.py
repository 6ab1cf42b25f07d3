import sys

import pytest
import torch
from tiny_run import exchanged, make_server, plan_of

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.lm.train.quantise import compensated, low_rank, quantised

functional = pytest.importorskip("bitsandbytes").functional
WIDTHS = {4: 64, 8: 256}


def by_torch(row_scales):
    """Return NF4 dequantisation in plain torch.

    With `row_scales` it reads scales as bitsandbytes 0.50.2 does with AVX-512: from
    (row) x (whole blocks per row) on, which is right only where rows end with blocks.
    """

    def dequantize_4bit(packed, state):
        nibbles = torch.stack([packed >> 4, packed & 15], -1).flatten().long()
        rows, width = state.shape
        at = torch.arange(nibbles.numel())[: rows * width]
        scale = at // state.blocksize
        if row_scales:
            scale = at // width * (width // state.blocksize)
            scale = scale + at % width // state.blocksize
        values = state.code[nibbles[: rows * width]] * state.absmax[scale]
        return values.view(rows, width)

    return dequantize_4bit


@pytest.fixture(params=["this processor's", "plain", "AVX-512's"], autouse=True)
def kernel(request, monkeypatch):
    """Run every test with the library's kernel for this machine, and with others."""
    if request.param != "this processor's":
        fake = by_torch(row_scales=request.param == "AVX-512's")
        monkeypatch.setattr(functional, "dequantize_4bit", fake)
    return request.param


def test_the_kernels_differ_where_a_row_ends_within_a_block(kernel):
    """The fault is there in the fake, so that the other tests show it is avoided."""
    weight = matrix()
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    off = error(weight, functional.dequantize_4bit(packed, state))
    if kernel == "AVX-512's":
        assert off > 0.2
    if kernel == "plain":
        assert off < 0.1


def test_all_kernels_give_the_same(monkeypatch):
    for shape in [(48, 80), (80, 48), (7, 66), (1, 3), (5, 13)]:
        weight, found = matrix(*shape), []
        found.append(quantised(weight, 4))
        for row_scales in (False, True):
            monkeypatch.setattr(functional, "dequantize_4bit", by_torch(row_scales))
            found.append(quantised(weight, 4))
        assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("fault", [lambda x: x.roll(1, 0), lambda x: x * torch.nan])
def test_a_wrong_kernel_is_one_clear_error(monkeypatch, bits, fault):
    name = "dequantize_4bit" if bits == 4 else "dequantize_blockwise"
    right = getattr(functional, name)
    monkeypatch.setattr(functional, name, lambda *args: fault(right(*args)))
    with pytest.raises(InputError, match=rf"{bits}-bit kernel is wrong on this cpu"):
        quantised(matrix(), bits)


def matrix(rows=48, columns=80, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator)


def error(weight, other):
    return float((weight - other).norm() / weight.norm())


@pytest.mark.parametrize(("bits", "size"), WIDTHS.items())
@pytest.mark.parametrize("shape", [(48, 80), (80, 48)])
def test_a_block_has_few_levels_times_its_scale(bits, size, shape):
    weight = matrix(*shape)
    blocks = quantised(weight, bits).flatten().view(-1, size)
    for block in blocks:
        assert len(block.unique()) <= 2**bits
    # One code for all blocks, scaled by what is largest in each.
    largest = weight.flatten().view(-1, size).abs().amax(1, keepdim=True)
    levels = (blocks / largest * 1e5).round().unique()
    assert 2 ** (bits - 1) < len(levels) <= 2**bits
    assert levels.min() >= -1e5 and levels.max() == 1e5
    assert (weight.flatten().view(-1, size) - blocks).abs().max() < 0.2 * largest.max()


def test_more_bits_are_nearer():
    weight = matrix()
    errors = [error(weight, compensated(weight, bits, 0)) for bits in (4, 8)]
    assert 0.05 < errors[0] < 0.15  # NF4 on normal weights
    assert 0 < errors[1] < 0.2 * errors[0]


def test_sixteen_bits_are_the_weight_itself():
    weight = matrix()
    for rank in (0, 8):
        assert compensated(weight, 16, rank) is weight


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (7, 66)])
def test_compensation_is_the_best_of_its_rank(bits, shape):
    weight = matrix(*shape)
    rounded = compensated(weight, bits, 0)
    assert torch.equal(rounded, quantised(weight, bits))
    left, values, right = torch.linalg.svd((weight - rounded).double())
    errors = [error(weight, rounded)]
    assert errors[0] < 0.15
    for rank in (1, 2, 4):
        held = compensated(weight, bits, rank)
        errors.append(error(weight, held))
        best = float(values[rank:].norm() / weight.double().norm())
        assert errors[-1] == pytest.approx(best, rel=1e-4)
        term = (left[:, :rank] * values[:rank]) @ right[:rank]
        expected = rounded + term.float()
        torch.testing.assert_close(held, expected, rtol=0, atol=1e-5)
    assert sorted(errors, reverse=True) == errors
    assert len(set(errors)) == 4


def test_the_full_rank_is_all_of_the_error():
    weight = matrix(6, 9)
    torch.testing.assert_close(low_rank(weight, 6), weight)
    torch.testing.assert_close(low_rank(weight, 99), weight)
    assert torch.linalg.matrix_rank(low_rank(weight, 2)) == 2


@pytest.mark.parametrize("bits", WIDTHS)
def test_layout_type_and_gradients_do_not_matter(bits):
    weight = matrix()
    transposed = weight.T.contiguous().T
    assert not transposed.is_contiguous()
    assert torch.equal(quantised(transposed, bits), quantised(weight, bits))
    half = quantised(weight.half(), bits)
    assert half.dtype == torch.float16 and half.shape == weight.shape
    trained = weight.clone().requires_grad_(True)
    assert not compensated(trained, bits, 2).requires_grad
    assert torch.equal(trained, weight)
    assert not quantised(torch.zeros(3, 64), bits).any()


@pytest.mark.parametrize("bits", WIDTHS)
def test_without_bitsandbytes_it_says_what_to_install(bench, monkeypatch, bits):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trimwave\[quant\]'"):
        quantised(matrix(), bits)
    exchanged(bench, "fedqlora:bits=16")  # needs none
    with pytest.raises(MissingExtraError, match="bitsandbytes"):
        exchanged(bench, f"fedqlora:bits={bits}:rank=3")  # not in store yet


@pytest.mark.parametrize("failure", [RuntimeError, NotImplementedError, ValueError])
@pytest.mark.parametrize(
    ("bits", "name"),
    [(4, "quantize_4bit"), (4, "dequantize_4bit"), (8, "quantize_blockwise")],
)
def test_a_device_without_a_kernel_is_named(monkeypatch, failure, bits, name):
    def fail(*args, **settings):
        raise failure("no kernel image")

    monkeypatch.setattr(functional, name, fail)
    with pytest.raises(InputError, match=r"on cpu: no kernel.*fedqlora:bits=16"):
        quantised(matrix(), bits)


def test_clients_hold_different_bases_and_share_factors(bench):
    server, plan, updates = exchanged(bench, "fedqlora:bits=mixed")
    widths = [submodel.weight_bits for submodel in plan.submodels]
    assert sorted(widths) == [4, 4, 8]
    by_width = dict(zip(widths, plan.submodels, strict=True))
    stored = {bits: server.deliver(one).installed for bits, one in by_width.items()}
    original = server.deliver(
        plan_of(bench, server, "fedqlora:bits=16").submodels[0]
    ).installed
    assert stored[4].keys() == stored[8].keys() == original.keys()
    for name, value in original.items():
        if value.ndim == 2:
            far, near = (error(value.float(), stored[b][name].float()) for b in (4, 8))
            assert 0 < near < far < 0.12, name
        else:
            assert torch.equal(stored[4][name], value)
    # What is shared, and what is tested, stands on the unquantised model.
    packages = [server.deliver(submodel).sent for submodel in plan.submodels]
    assert packages[0].keys() == packages[1].keys() == packages[2].keys()
    base = dict(bench.split.split_at(0).adapter.named_parameters())
    for name, value in server.full_model.adapter.named_parameters():
        if "lora_" not in name:
            assert value is base[name.replace(".base_layer", "")]
    for update in updates:
        assert all(".lora_" in name for name in update.delta)


def test_a_stored_base_is_made_once_per_format(bench):
    assert bench.stored_blocks(4, 8) is bench.stored_blocks(4, 8)
    plain, helped = (bench.stored_blocks(4, rank) for rank in (0, 8))
    name = next(name for name, value in plain[0].items() if value.ndim == 2)
    assert not torch.equal(plain[0][name], helped[0][name])


@pytest.mark.slow
def test_the_base_decides_what_a_client_learns(bench):
    deltas = []
    for bits in (4, 8, 16):
        _, _, updates = exchanged(bench, f"fedqlora:bits={bits}")
        deltas.append(updates[0].delta)
    _, _, updates = exchanged(bench, "lora")
    name = next(name for name in deltas[0] if ".lora_B." in name)
    assert torch.equal(deltas[2][name], updates[0].delta[name])
    assert not torch.equal(deltas[0][name], deltas[1][name])


def test_a_server_that_only_evaluates_needs_no_bitsandbytes(
    bench, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    server = make_server(bench, "fedqlora:bits=4")
    server.save(tmp_path)
    server.load(tmp_path)
    assert server.evaluate()["loss_full"] > 0
