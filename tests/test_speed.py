"""What makes a step fast is taken only where it does."""

import pytest
import torch

from autoencoder import VariationalAutoencoder
from extras import speed


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("alone", "together", "chosen"), [(1, 2, 1), (2, 1, 3)])
@pytest.mark.usefixtures("threads")
def test_threads_are_those_that_were_faster(monkeypatch, alone, together, chosen):
    seconds = {1: alone, 3: together}
    monkeypatch.setattr(
        speed, "seconds_of_a_step", lambda model, images, threads, **_: seconds[threads]
    )
    speed.choose_threads(None, None, 3)
    assert torch.get_num_threads() == chosen


@pytest.mark.usefixtures("threads")
def test_a_trial_leaves_model_and_random_numbers_as_they_are():
    model = VariationalAutoencoder()
    before = [weight.clone() for weight in model.parameters()]
    images = torch.rand(20, 28, 28)
    state = torch.get_rng_state()
    assert speed.seconds_of_a_step(model, images, 1) > 0
    assert torch.equal(torch.get_rng_state(), state)
    for weight, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, old)
        assert weight.grad is None


@pytest.mark.parametrize(
    ("dtype", "seconds", "allowed"),
    [
        (torch.float64, 0.01, True),
        (torch.bfloat16, 0.01, False),
        (torch.float64, 1, False),
    ],
)
def test_fast_products_are_allowed_where_faster_and_exact(
    dtype, seconds, allowed, monkeypatch
):
    times = iter([1, seconds])
    matmul = torch.backends.mkldnn.matmul
    monkeypatch.setattr(speed, "seconds_of_a_product", lambda *_: next(times))
    monkeypatch.setattr(
        speed.F, "linear", lambda a, b: (a.to(dtype) @ b.to(dtype).T).float()
    )
    speed.allow_fast_products()
    found = matmul.fp32_precision
    matmul.fp32_precision = "none"
    assert (found == "bf16") == allowed
