"""Products with a weight that was laid out beforehand are the plain products."""

import pytest
import torch
from torch.nn import functional as F

from armillary.nn.packed import Packed, available


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (2, 3, 40), (0,), (2, 0)])
@pytest.mark.parametrize("gelu", [False, True])
def test_the_product_is_the_plain_one(shape, gelu):
    weight, x = draw(24, 17), draw(*shape, 17, seed=1)
    made, wanted = Packed(weight)(x, gelu), F.linear(x, weight)
    wanted = F.gelu(wanted) if gelu else wanted
    assert made.shape == wanted.shape
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


def test_rows_and_weights_may_lie_anyhow():
    weight, x = draw(17, 24).t(), draw(17, 6, seed=1).t()
    torch.testing.assert_close(Packed(weight)(x), x @ weight.t(), atol=1e-5, rtol=1e-5)


def test_what_is_packed_is_a_copy():
    layer = torch.nn.Linear(8, 8, bias=False)
    packed, x = Packed(layer.weight), draw(3, 8)
    before = packed(x)
    assert not before.requires_grad
    with torch.no_grad():
        layer.weight.zero_()
    assert (packed(x) != 0).any() == (packed.packed is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_take_the_plain_product(dtype):
    weight, x = draw(8, 8).to(dtype), draw(3, 8, seed=1).to(dtype)
    packed = Packed(weight)
    assert packed.packed is None
    assert torch.equal(packed(x), F.linear(x, weight))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of torch's own switch, where it first runs
def test_without_onednn_it_is_the_plain_product():
    with torch.backends.mkldnn.flags(enabled=False):
        assert not available()
        packed = Packed(draw(8, 8))
    assert packed.packed is None
    assert torch.equal(packed(draw(3, 8)), F.linear(draw(3, 8), draw(8, 8)))
