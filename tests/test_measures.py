"""Measures against NumPy, and on cases whose answer is known."""

import numpy as np
import pytest
import torch

from extras import measures


def test_nearest_against_numpy():
    rows = torch.randn(600, 4).double()
    others = torch.randn(700, 4).double()
    found = measures.nearest(rows, others, 10)
    distances = np.linalg.norm(rows.numpy()[:, None] - others.numpy(), axis=2)
    assert np.array_equal(found.indices, distances.argsort(axis=1)[:, :10])
    assert np.allclose(found.distances, np.sort(distances, axis=1)[:, :10])


def test_nearest_takes_images_and_no_more_than_there_are():
    images = torch.rand(3, 28, 28)
    found = measures.nearest(images, images, 10)
    assert found.indices.shape == (3, 3)
    assert found.indices[:, 0].tolist() == [0, 1, 2]


def test_principal_axes_against_a_singular_value_decomposition():
    rows = torch.randn(200, 10).double() * torch.linspace(0.1, 1, 10)
    found = measures.principal_axes(rows, 3)
    centred = rows.numpy() - rows.numpy().mean(axis=0)
    expected = np.linalg.svd(centred, full_matrices=False)[2][:3]
    products = np.abs(found.directions.T.numpy() @ expected.T)
    assert np.allclose(products, np.eye(3), atol=1e-9)  # signs are free
    copies = found.decode(found.encode(rows))
    assert np.allclose(copies - found.mean, centred @ expected.T @ expected)


def test_means_and_counts_by_digit():
    labels = torch.arange(40) % 10
    values = torch.stack((labels, labels**2), dim=1).float()
    assert measures.mean_by_digit(values, labels)[3].tolist() == [3, 9]
    assert measures.count_by_digit(labels[:12]).tolist() == [2, 2, *[1] * 8]


def test_share_explained_is_r_squared():
    random = np.random.default_rng(0)
    cause = random.normal(size=(500, 1))
    values = np.column_stack(
        [
            3 * cause[:, 0] + 1,
            cause[:, 0] + random.normal(size=500),
            np.ones(500),
        ]
    )
    whole, half, none = measures.share_explained(values, cause)
    assert whole == pytest.approx(1)
    assert half == pytest.approx(np.corrcoef(cause[:, 0], values[:, 1])[0, 1] ** 2)
    assert none == 0


def test_slant_and_ink():
    images = torch.zeros(4, 28, 28)  # lines that lean right, not, left; and no ink
    for up in range(-8, 9):
        for image, slope in enumerate((0.5, 0, -0.25)):
            images[image, 14 - up, 14 + round(slope * up)] = 1
    assert measures.slant(images).tolist() == pytest.approx(
        [0.5, 0, -0.25, 0], abs=0.03
    )
    assert measures.ink(images).tolist() == pytest.approx([17 / 784] * 3 + [0])


def test_effective_number():
    assert measures.effective_number(torch.ones(7)) == pytest.approx(7)
    assert measures.effective_number(torch.tensor([9, 0, 0])) == pytest.approx(1)
    assert measures.effective_number(torch.zeros(10)) == 0
    assert 1 < measures.effective_number(torch.tensor([9, 1])) < 2
