"""The dense autoencoder, in the order of the assignment.

pytest tests/assignment --solution PATH      checks the file or the folder PATH
"""

import functools
import operator
from unittest import mock

import pytest
import torch
from matplotlib import pyplot
from torch.nn import functional as F

from tests.assignment.mistakes import agree
from tests.assignment.reading import expect, fail
from tests.assignment.solution import list_shapes
from tests.assignment.test_codelet7 import changed
from utils import load_mnist

IMAGES = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(0))
CODES = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))


def test_encoder(autoencoder):
    """An `encoder` submodule that is a MLP that can take (N, 28, 28) tensors and return
    "encoded" tensors of shape (N, 2)."""
    encoder = autoencoder.model().encoder
    expect_shape("encoder", encoder(IMAGES), (5, 2))
    expect_shape("encoder", encoder(IMAGES[:1]), (1, 2))


def test_decoder(autoencoder):
    """A `decoder` submodule that is also a MLP which takes codes of shape (N, 2) and
    returns images of shape (N, 28, 28)."""
    decoder = autoencoder.model().decoder
    expect_shape("decoder", decoder(CODES), (5, 28, 28))
    expect_shape("decoder", decoder(CODES[:1]), (1, 28, 28))


def expect_shape(part, found, shape):
    N, *rest = shape
    hints = {
        (N, 784): ": the images are flat, without rows",
        (N, 1, *rest): ": there is a channel too many",
        tuple(rest): ": squeeze() took away N as well",
    }
    expect(
        found.shape == shape,
        f"the {part} returns {list_shapes([found])}, expected {shape}"
        + hints.get(tuple(found.shape), ""),
    )


def test_forward_returns_codes_and_reconstructions(autoencoder):
    """A `forward()` method that takes a batch of MNIST images and returns a 2-tuple
    with 1) the encoded values and 2) the reconstructed images."""
    output = autoencoder.model()(IMAGES)
    expected = "expected a tuple of codes (5, 2) and reconstructions (5, 28, 28)"
    expect(
        isinstance(output, tuple),
        f"forward returns {list_shapes([output])}; {expected}",
    )
    shapes = [tuple(part.shape) for part in output]
    hint = ": they are the other way round" if shapes == [(5, 28, 28), (5, 2)] else ""
    expect(
        shapes == [(5, 2), (5, 28, 28)],
        f"forward returns {list_shapes(output)}; {expected}{hint}",
    )


def test_forward_encodes_and_decodes(autoencoder):
    """Taking a datum x, becoming a code c = f(x); the reconstruction is x' = g(c)."""
    model = autoencoder.model()
    codes, reconstructions = model(IMAGES)
    expect(
        agree(codes.flatten(), model.encoder(IMAGES).flatten()),
        "the codes that forward returns are not what the encoder makes of the images",
    )
    expect(
        agree(reconstructions.flatten(), model.decoder(codes).flatten()),
        "the reconstructions of forward are not what the decoder makes of its codes",
    )


def test_error_trains_the_encoder(autoencoder):
    """The training goal is to make the reconstruction as close as possible to the
    original."""
    model = autoencoder.model()
    _, reconstructions = model(IMAGES)
    reconstructions.square().mean().backward()
    expect(
        any(weight.grad is not None for weight in model.encoder.parameters()),
        "no gradient reaches the encoder through the reconstruction's error; does "
        ".detach(), .data, NumPy or torch.no_grad() cut it off?",
    )


@functools.cache
def labels_by_image(train):
    """MNIST's labels by the bytes of their images."""
    images, labels = load_mnist(train)
    return dict(zip(map(bytes, images), labels.tolist(), strict=True))


def bytes_of(images):
    """The bytes of MNIST's images out of images `(N, 28, 28)` of whatever range."""
    low = images.min()
    pixels = 255 * (images - low) / (images.max() - low)
    return [bytes(image) for image in pixels.round().byte().numpy()]


def test_sample_train_draws_training_images(autoencoder):
    """Write a data-generating function `sample_train(N, return_labels=False)` that
    samples N instances from the training set."""
    images = bytes_of(autoencoder.sample(2_000))
    known = sum(image in labels_by_image(True) for image in images)
    is_test_set = all(image in labels_by_image(False) for image in images)
    expect(
        known == 2_000,
        f"{known:,} of the 2,000 images of sample_train(2000) are training images, "
        "in whatever range"
        + (": these are MNIST's test images" if is_test_set else ""),
    )


def test_sample_train_draws_different_images(autoencoder):
    """... samples N instances ..."""
    different = len({*bytes_of(autoencoder.sample(2_000))})
    expect(
        different == 2_000,
        f"sample_train(2000) returns {different:,} different images: this is drawing "
        "with replacement; torch.randperm, or choice with replace=False, is without",
    )


def test_sample_train_draws_anew(autoencoder):
    """... samples ..."""
    first = autoencoder.sample(20)
    expect(
        not torch.equal(first, autoencoder.sample(20)),
        "sample_train returns the same images on each call: is the seed set in it, or "
        "are they the first N?",
    )


def test_sample_train_returns_labels(autoencoder):
    """Optionally it should also return the labels."""
    images, labels = autoencoder.labelled_sample(2_000)
    expected = [labels_by_image(True).get(image) for image in bytes_of(images)]
    right = sum(map(operator.eq, labels.tolist(), expected))
    expect(
        right == 2_000,
        f"{right:,} of 2,000 labels of sample_train belong to their images: are images "
        "and labels drawn by the same indices?",
    )


def test_train_changes_all_weights(autoencoder):
    """Write a training loop with your Autoencoder model, as the scaffold's `train`."""
    train = autoencoder.function_that_takes("train", 2)
    model = autoencoder.model().train()
    before = [weight.clone() for weight in model.parameters()]
    train(model, 3)
    expect(
        changed(model, before),
        "train leaves weights as they are; does it call backward and optimizer.step?",
    )


@pytest.mark.slow
def test_training_learns_more_than_the_mean_image(autoencoder):
    """Write a training loop with your Autoencoder model that trains using mini-batches
    of size 200 and using a standard mean-squared-error (MSE) loss. Train with learning
    rate 1e-3 (with Adam)."""
    model = autoencoder.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = autoencoder.sample(2_000)
    error_of_mean = images.var(dim=0, correction=0).mean().item()
    for _ in range(5):  # most models need one round; with Sigmoids they start slowly
        for _ in range(200):
            train_step(model, optimizer, autoencoder.sample(200))
        _, reconstructions = model.eval()(images)
        error = F.mse_loss(reconstructions, images).item()
        if error < error_of_mean:
            return
    fail(
        f"after 1,000 steps the error is {error:.4g}, that of the mean image "
        f"{error_of_mean:.4g}. The images go from {images.min():.3g} to "
        f"{images.max():.3g}, the reconstructions from {reconstructions.min():.3g} to "
        f"{reconstructions.max():.3g}",
    )


def train_step(model, optimizer, images):
    _, reconstructions = model.train()(images)
    loss = F.mse_loss(reconstructions, images)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_plot_shows_original_and_reconstruction(autoencoder):
    """Write a plotting function `plot(model,samples)` that takes a mini batch of size 1
    and plots both the original as well as the reconstructed images side by side."""
    counts = []

    def show(*_, **__):
        counts.append(count_pictures())
        pyplot.close("all")

    pyplot.close("all")
    samples = autoencoder.get("sample_train")(1)
    with mock.patch.object(pyplot, "show", show):
        autoencoder.get("plot")(autoencoder.model(), samples)
    show()  # what plot left open
    expect(
        sum(counts) == 2,
        f"the number of pictures that plot shows of one image is {sum(counts)}, "
        "expected 2: the original and its reconstruction. Those count that are open "
        "when pyplot.show is called, or afterwards",
    )


def count_pictures():
    """Pictures of 28 x 28 pixels on all open figures, also several in one grid."""
    figures = map(pyplot.figure, pyplot.get_fignums())
    axes = [axis for figure in figures for axis in figure.axes]
    sizes = [image.get_array().shape for axis in axes for image in axis.images]
    return sum(rows * columns // (28 * 28) for rows, columns, *_ in sizes)
