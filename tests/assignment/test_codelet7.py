"""Codelet 7, a sparse autoencoder, in the order of the assignment.

pytest tests/assignment --solution PATH      checks the file or the folder PATH
"""

import math
import warnings

import pytest
import torch

from codelet7 import make_dataloader
from tests.assignment import mistakes
from tests.assignment.mistakes import EXAMPLE, PENALTY, WEIGHT, name_mistake
from tests.assignment.reading import expect
from tests.assignment.solution import as_float
from utils import load_mnist

IMAGES = torch.randn(5, 784, generator=torch.Generator().manual_seed(0))


def test_model_is_a_simple_encoder_decoder_structure(codelet7):
    """The sparse autoencoder we are building is a simple encoder-decoder structure."""
    model = codelet7.model()
    codelet7.layers(model)
    codelet7.forward(model, IMAGES)
    codelet7.forward(model, IMAGES[:1])


def test_encoder_is_linear_with_a_sigmoid(codelet7):
    """The encoder should be a torch `Linear` layer mapping `inputDims` to `hDims` which
    a `Sigmoid` activation function is applied to."""
    model = codelet7.model()
    encoder, _ = codelet7.layers(model)
    hidden, _ = codelet7.forward(model, IMAGES)
    values = encoder(IMAGES)
    expect(
        mistakes.agree(hidden, values.sigmoid()),
        f"hidden goes from {hidden.min():.2f} to {hidden.max():.2f} and is not the "
        "Sigmoid of the encoder's Linear layer"
        + name_mistake(hidden, mistakes.activations(values)),
    )


def test_decoder_is_linear_with_a_tanh(codelet7):
    """The decoder should be a torch `Linear` layer mapping `hDims` to `inputDims` and
    applying a `Tanh` activation function."""
    model = codelet7.model()
    _, decoder = codelet7.layers(model)
    hidden, reconstruction = codelet7.forward(model, IMAGES)
    values = decoder(hidden)
    expect(
        mistakes.agree(reconstruction, values.tanh()),
        f"the reconstruction goes from {reconstruction.min():.2f} to "
        f"{reconstruction.max():.2f} and is not the Tanh of the decoder's Linear layer"
        + name_mistake(reconstruction, mistakes.activations(values)),
    )


def test_weights_are_initialised(codelet7):
    """After creating the linear layers, you should use `init_weights`, which takes a
    linear layer, to initialize the weights. We are using Xavier Initialization."""
    encoder, decoder = codelet7.layers(codelet7.model())
    found = encoder.weight.std().item(), decoder.weight.std().item()
    expected = mistakes.xavier_deviation(encoder)  # the decoder's is the same
    expect(
        mistakes.agree(found, (expected, expected), tolerance=0.1),
        f"the weights' standard deviations are {found[0]:.4f} in the encoder and "
        f"{found[1]:.4f} in the decoder, expected {expected:.4f} in both"
        + name_mistake(found, mistakes.deviations(encoder, decoder), tolerance=0.1),
    )


def test_penalty_of_the_example(codelet7):
    """Given the following hidden representations of 5 inputs (where the hidden
    representation has 3 nodes), we should get an output of 1.1490."""
    penalty = as_float(codelet7.penalty(EXAMPLE))
    rho_hat = ", ".join(f"{mean:.1f}" for mean in mistakes.MEAN)
    steps = (
        f". To compare: rho_hat is ({rho_hat}), the first term summed over the nodes "
        f"{mistakes.FIRST_TERM:.4f}, the second {mistakes.SECOND_TERM:.4f}"
    )
    expect(
        mistakes.agree(penalty, PENALTY),
        f"the penalty of the assignment's example is {penalty:.4f}, expected "
        f"{PENALTY:.4f}" + name_mistake(penalty, mistakes.PENALTIES, otherwise=steps),
    )


def test_penalty_of_nodes_that_never_fire(codelet7):
    """We have two edge cases that pose a problem for this penalty, when rho_hat_j is 0
    (because log is not defined for 0)."""
    hidden = torch.zeros(5, 3, requires_grad=True)
    expect_finite(codelet7.penalty(hidden), hidden, "0")


def test_penalty_of_nodes_that_always_fire(codelet7):
    """... and when it is 1. To avoid this, you should use `torch.clamp` to clamp the
    values between 1e-8 and 1 - 1e-8."""
    hidden = torch.ones(5, 3, requires_grad=True)
    penalty = codelet7.penalty(hidden)
    if math.isinf(as_float(penalty)) and is_clamped_at_one(codelet7):
        warnings.warn(
            "This passes, but know: where rho_hat is 1, the penalty is infinite in "
            "spite of the clamp, since 1 - 1e-8 is 1 in float32. Clamping rho_hat and "
            "1 - rho_hat, each at 1e-8, avoids it.",
            stacklevel=1,
        )
    else:
        expect_finite(penalty, hidden, "1")


def is_clamped_at_one(codelet7):
    """Whether the penalty is finite there in float64, in which 1 - 1e-8 is not 1."""
    hidden = torch.ones(5, 3, dtype=torch.float64)
    return math.isfinite(as_float(codelet7.penalty(hidden)))


def expect_finite(penalty, hidden, rho_hat):
    """The penalty, and its gradient, where it has one."""
    expect(
        math.isfinite(as_float(penalty)),
        f"where rho_hat is {rho_hat}, the penalty is {as_float(penalty)}; is rho_hat "
        "clamped between 1e-8 and 1 - 1e-8 before the logarithms?",
    )
    if isinstance(penalty, torch.Tensor) and penalty.requires_grad:
        penalty.sum().backward()
        expect(
            hidden.grad.isfinite().all(),
            f"where rho_hat is {rho_hat}, the penalty is finite, but not its gradient; "
            "is rho_hat clamped before the logarithms?",
        )


def test_penalty_trains_the_encoder(codelet7):
    """We want the average activation of a node to approach 0.05."""
    model = codelet7.model()
    encoder, _ = codelet7.layers(model)
    hidden, _ = codelet7.forward(model, IMAGES)
    penalty = codelet7.penalty(hidden, model)
    if isinstance(penalty, torch.Tensor) and penalty.requires_grad:
        penalty.backward()
    expect(
        encoder.weight.grad is not None,
        "no gradient reaches the encoder through the penalty; does .item(), .detach(), "
        ".data, NumPy or torch.no_grad() cut it off?",
    )


def test_error_trains_the_encoder(codelet7):
    """You evidence completion of this task with successfully training a model."""
    model = codelet7.model()
    encoder, _ = codelet7.layers(model)
    hidden, reconstruction = codelet7.forward(model, IMAGES)
    loss = codelet7.loss(model, IMAGES, hidden.detach(), reconstruction)
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        loss.backward()
    expect(
        encoder.weight.grad is not None,
        "no gradient reaches the encoder through the reconstruction's error; does "
        ".item(), .detach(), .data, NumPy or torch.no_grad() cut it off?",
    )


def test_loss_mixes_error_and_penalty(codelet7):
    """You should add to the MSE between the true and predicted pixel values to the
    sparsity penalty, weighted by 1e-4."""
    model = codelet7.model()
    x = torch.full((5, 784), 0.5)
    reconstruction = torch.full((5, 784), 0.48)
    hidden = torch.full((5, 10), 0.3)
    penalty = as_float(codelet7.penalty(hidden, model))
    error = (x - reconstruction).square().mean().item()
    expected = error + WEIGHT * penalty
    loss = as_float(codelet7.loss(model, x, hidden, reconstruction))
    table = mistakes.losses(x, reconstruction, penalty)
    expect(
        mistakes.agree(loss, expected),
        f"the loss is {loss:.4g}, expected {expected:.4g}, the mean squared error "
        f"{error:.4g} plus 1e-4 times the penalty {penalty:.4g}"
        + name_mistake(loss, table),
    )


def test_train_changes_all_weights(codelet7):
    """Finally, you should train a model, as the scaffold's `train` does."""
    train = codelet7.function_that_takes("train", 4)
    model = codelet7.model()
    before = [weight.clone() for weight in model.parameters()]
    images, labels = load_mnist(train=False)
    train(model, make_dataloader(images[:320], labels[:320]), 1, 1e-4)
    expect(
        changed(model, before),
        "train leaves weights as they are; does it call backward and optimizer.step?",
    )


def changed(model, before):
    """Whether all weights differ from those before."""
    pairs = zip(model.parameters(), before, strict=True)
    return not any(torch.equal(weight, old) for weight, old in pairs)


@pytest.mark.slow
def test_first_epoch_of_training(codelet7):
    """For comparison purposes, below is my initial and final loss after 20 epochs.
    Epoch: 1/20 - Train Loss: 0.8029."""
    model = codelet7.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    losses = []
    for images, _ in make_dataloader(*load_mnist()):
        x = images.flatten(1)
        hidden, reconstruction = codelet7.forward(model, x)
        loss = codelet7.loss(model, x, hidden, reconstruction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    mean = sum(losses) / len(losses)
    expect(
        abs(mean - 0.80) < 0.02,
        f"the train loss of the first epoch is {mean:.4f}, expected 0.80 +- 0.02",
    )
