"""Drawn digits: repeatable, in MNIST's format, and fit to stand in for it."""

import os

import numpy as np

import utils
from extras.digits import draw_digits


def test_format_and_seed():
    images, labels = draw_digits(1001, seed=3)
    assert images.shape == (1001, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (1001,) and labels.dtype == np.int64
    assert np.bincount(labels).min() >= 100
    assert images.max() == 255 and (images == 0).mean() > 0.5
    assert all(map(np.array_equal, draw_digits(1001, seed=3), (images, labels)))
    assert not np.array_equal(draw_digits(1001, seed=2)[0], images)


def test_every_digit_is_drawn_and_labelled_as_itself():
    """A digit, drawn or MNIST's, is mostly more like the mean drawn one of its label than like that of another."""
    images, labels = draw_digits(2000, seed=0)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    others = [utils.Digits(*draw_digits(1000, seed=1), utils.DRAWN)]
    if folder := os.environ.get("MNIST_DIR"):
        others.append(utils.load_digits(False, folder))
    for images, labels, source in others:
        nearest = np.array([np.square(image - means).sum(axis=(1, 2)).argmin() for image in images])
        assert (nearest == labels).mean() > 0.7, source  # MNIST's own means name 82 % of it
        assert np.bincount(nearest, minlength=10).min() > 0.05 * len(nearest), source


def test_fitted_and_centred_as_mnist_is():
    ink = draw_digits(2000, seed=0)[0] / 255
    rows, columns = ink.sum(axis=2), ink.sum(axis=1)
    for profile in (rows, columns):
        centre = (profile * (np.arange(28) + 0.5)).sum(axis=1) / profile.sum(axis=1)
        assert np.abs(centre - 14.5).max() < 1.5 and abs(centre.mean() - 14.5) < 0.1  # MNIST's lie in 14 to 15
    longest = np.maximum((rows > 0.5).sum(axis=1), (columns > 0.5).sum(axis=1))
    assert 17 <= np.median(longest) <= 21
