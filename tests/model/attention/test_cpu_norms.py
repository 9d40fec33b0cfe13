"""RMS norms in bfloat16 on a CPU: exact gradients, the rounding of bfloat16."""

import torch
from torch.nn import functional

from components.model.attention.cpu_norms import _HalfNorm, half_norm


def test_its_gradients_are_those_of_its_function() -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 3, 6, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(6, dtype=torch.float64, generator=generator).requires_grad_()
    inputs = (states, weight, 1e-3, torch.float64)
    assert torch.autograd.gradcheck(_HalfNorm.apply, inputs)
    found = _HalfNorm.apply(*inputs)
    torch.testing.assert_close(found, functional.rms_norm(states, (6,), weight, 1e-3))


def test_it_equals_the_exact_norm_but_for_rounding() -> None:
    generator = torch.Generator().manual_seed(2)
    values = [torch.randn(shape, generator=generator) for shape in [(1, 40, 192), (192,)]]
    half = [value.clone().requires_grad_() for value in values]
    exact = [value.double().requires_grad_() for value in values]
    weight = torch.randn(1, 40, 192, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = half_norm(*half, 1e-5)
    wanted = functional.rms_norm(exact[0], (192,), exact[1], 1e-5)
    assert found.dtype == torch.bfloat16
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    for a, b in ((found, wanted), *((h.grad, e.grad) for h, e in zip(half, exact, strict=True))):
        assert (a.double() - b).norm() < 0.01 * b.norm()  # 8 bits: 2 ** -8 each
    assert half[0].grad.dtype == half[1].grad.dtype == torch.float32
