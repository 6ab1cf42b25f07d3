import pytest
import torch

from trimwave.lm.states.formats import num_bytes, packed, unpacked


@pytest.fixture
def state():
    """Tokens of very different size, as a real model has them, one of zeros."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1e-3, 1.0, 24_000.0, 0.0])[:, None]
    return torch.randn(4, 64, generator=generator) * sizes


@pytest.mark.parametrize(
    ("kept_as", "error"), [("fp32", 0.0), ("bf16", 2**-8), ("int8", 0.5 / 127)]
)
def test_every_token_keeps_its_own_precision(state, kept_as, error):
    off = (unpacked(packed(state, kept_as)) - state).abs().amax(dim=-1)
    assert (off <= error * 1.001 * state.abs().amax(dim=-1)).all()


@pytest.mark.parametrize("kept_as", ["fp32", "bf16", "int8"])
def test_what_is_read_is_what_was_rounded(state, kept_as):
    once = unpacked(packed(state, kept_as))
    assert once.dtype == torch.float32
    assert torch.equal(unpacked(packed(state, kept_as)), once)
    if kept_as != "int8":
        assert torch.equal(unpacked(packed(once, kept_as)), once)


@pytest.mark.parametrize(("kept_as", "size"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_bytes(state, kept_as, size):
    scales = 4 * len(state) if kept_as == "int8" else 0
    assert num_bytes(packed(state, kept_as)) == state.numel() * size + scales


@pytest.mark.parametrize("kept_as", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(state, kept_as, value):
    state[1, 3] = value
    found = unpacked(packed(state, kept_as))
    assert not found[1].isfinite().all()
    assert found[[0, 2, 3]].isfinite().all()
