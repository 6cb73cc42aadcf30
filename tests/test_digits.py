"""Drawn digits: repeatable, in MNIST's format, and fit to stand in for it."""

import os

import numpy as np
import pytest
import torch
from torch import nn

import utils
from extras.digits import draw_digits


def test_format():
    images, labels = draw_digits(1001, seed=3)
    assert images.shape == (1001, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (1001,) and labels.dtype == np.int64
    assert np.bincount(labels).min() >= 100
    assert images.max() == 255 and (images == 0).mean() > 0.5


def test_same_seed_same_bytes():
    first, again, other = draw_digits(700, seed=1), draw_digits(700, seed=1), draw_digits(700, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_every_digit_is_drawn_and_labelled_as_itself():
    """A digit is more like the others of its label than like those of another one."""
    images, labels = draw_digits(2000, seed=0)
    flat = images.reshape(2000, -1) / 255
    means = np.stack([flat[:1000][labels[:1000] == digit].mean(axis=0) for digit in range(10)])
    nearest = np.square(flat[1000:, None] - means).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[1000:]).mean() > 0.6
    assert np.bincount(nearest, minlength=10).min() > 50


def test_fitted_and_centred_as_mnist_is():
    images, _ = draw_digits(2000, seed=0)
    ink = images / 255
    rows, columns = ink.sum(axis=2), ink.sum(axis=1)
    for profile in (rows, columns):
        centre = (profile * (np.arange(28) + 0.5)).sum(axis=1) / profile.sum(axis=1)
        assert np.abs(centre - 14.5).max() < 1.5 and abs(centre.mean() - 14.5) < 0.1  # MNIST's lie in 14 to 15
    longest = np.maximum((rows > 0.5).sum(axis=1), (columns > 0.5).sum(axis=1))
    assert 17 <= np.median(longest) <= 21


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
def test_a_network_trained_on_drawn_digits_reads_mnist():
    torch.manual_seed(0)
    images, labels = map(torch.from_numpy, draw_digits(60_000, seed=0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    for _ in range(3):
        for batch in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(network(images[batch] / 255), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    test = utils.load_digits(False, os.environ["MNIST_DIR"])
    with torch.no_grad():
        read = network(torch.from_numpy(test.images) / 255).argmax(dim=1).numpy()
    share = (read == test.labels).mean()
    print(f"{share:.1%} of MNIST's test set read by a network trained on drawn digits")
    assert share > 0.85
