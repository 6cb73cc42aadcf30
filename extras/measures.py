"""Functions of tensors on the CPU that give numbers, and tables of numbers."""

from typing import NamedTuple

import numpy as np
import torch


class Neighbours(NamedTuple):
    """For each of M rows the nearest `count` others, the nearest first."""

    indices: torch.Tensor  # (M, count)
    distances: torch.Tensor  # (M, count)


def nearest(rows, others, count=1):
    """The `Neighbours` of `rows` `(M, ...)` among `others` `(N, ...)`, Euclidean."""
    others = others.flatten(1)
    count = min(count, len(others))
    indices = []
    distances = []
    for block in rows.flatten(1).split(500):  # all distances at once take much memory
        found = torch.cdist(block, others).topk(count, largest=False)
        indices.append(found.indices)
        distances.append(found.values)
    return Neighbours(torch.cat(indices), torch.cat(distances))


class PrincipalAxes(NamedTuple):
    """The mean of rows `(N, d)`, and the directions in which they vary most."""

    mean: torch.Tensor  # (d,)
    directions: torch.Tensor  # (d, count), of length 1, the most varied first

    def encode(self, rows):
        return (rows - self.mean) @ self.directions

    def decode(self, codes):
        return codes @ self.directions.T + self.mean


def principal_axes(rows, count):
    """The first `count` `PrincipalAxes` of rows `(N, d)`."""
    covariance = torch.cov(rows.T).double()
    eigenvectors = torch.linalg.eigh(covariance).eigenvectors  # the last varies most
    directions = eigenvectors[:, -count:].flip(1)
    return PrincipalAxes(rows.mean(dim=0), directions.to(rows.dtype))


def mean_by_digit(values, labels):
    """The mean of the rows `(N, ...)` of each digit, `(10, ...)`."""
    return torch.stack([values[labels == digit].mean(dim=0) for digit in range(10)])


def count_by_digit(labels):
    """How many labels are 0, 1, ... 9, `(10,)`."""
    return torch.bincount(labels, minlength=10)


def share_explained(values, causes):
    """The share of the variance of each column of `values` `(N, q)` that a linear fit
    on `causes` `(N, p)` explains, `(q,)`; 0 of a column that is constant."""
    design = np.column_stack([np.ones(len(causes)), causes])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    return 1 - share_left(values, design @ coefficients)


def share_left(values, predictions):
    """Mean squared error of predictions over the variance, of each column, `(q,)`; 1
    where there is no variance."""
    error = np.square(values - predictions).mean(axis=0)
    variance = np.var(values, axis=0)
    is_constant = variance < 1e-12
    return np.where(is_constant, 1, error / np.where(is_constant, 1, variance))


def ink(images):
    """The mean pixel of images `(N, 28, 28)`, `(N,)`."""
    return images.double().mean(dim=(1, 2))


def slant(images):
    """By how many pixels the ink of images `(N, 28, 28)` moves to the right for each
    pixel up, `(N,)`; 0 where there is no ink.

    It is the slope of the regression of the ink's columns on its rows.
    """
    images = images.double()
    ink_of_all = images.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    weights = images / ink_of_all
    place = torch.arange(28, dtype=torch.float64)
    middle_row = weights.sum(dim=2) @ place
    middle_column = weights.sum(dim=1) @ place
    up = middle_row[:, None] - place
    right = place - middle_column[:, None]
    covariance = torch.einsum("nij,ni,nj->n", weights, up, right)
    variance = torch.einsum("nij,ni->n", weights, up.square())
    return covariance / variance.clamp(min=1e-9)


def effective_number(counts):
    """How many equally frequent kinds are as varied as these counts: e to the entropy
    of their shares; 0 where nothing was counted."""
    counts = counts.double()
    if counts.sum() == 0:
        return 0.0
    shares = counts / counts.sum()
    entropy = -torch.xlogy(shares, shares).sum()
    return entropy.exp().item()


def format_row(name, *cells):
    """A line of a table: a name and right-aligned cells."""
    return f"{name:40}" + "".join(f"{cell:>16}" for cell in cells)


def format_columns(columns):
    """A table out of its columns: their cells, texts, by their heading."""
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "\n".join("".join(f"{cell:>13}" for cell in line) for line in lines)
