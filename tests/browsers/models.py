"""A page of models that hardly learned, and what PyTorch makes of the same models."""

from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional as F

from autoencoder import Autoencoder, VariationalAutoencoder
from codelet7 import SparseAutoencoder
from extras import page as pages

MEAN, STD = 0.1307, 0.3081
PLANES = ("autoencoder", "variational")
KEYS = (*PLANES, "sparse", "sweep")
NEAR = 50
STEPS = [0, 10, 100, 1000]
LOSSES = [0.5, 0.4, 0.3, 0.2]
WEIGHTS = [0, 0.001, 0.3]
ERRORS = [0.4, 0.41, 0.6]
MEANS = [0.45, 0.3, 0.05]
RANDOM = {"recognised": 0.31, "different": 4.25}

torch.manual_seed(0)
numbers = np.random.default_rng(0)

# Ten images that differ as much as digits do, and the mean of others.
blocks = torch.from_numpy(numbers.random((10, 1, 5, 5)) ** 2)
images = F.interpolate(blocks, (28, 28), mode="bilinear")[:, 0]
SAMPLES = (255 * images).round().to(torch.uint8).numpy()
IMAGES = torch.from_numpy(SAMPLES).flatten(1) / 255
AVERAGE = SAMPLES.mean(axis=0).astype(np.uint8)

# Ten clusters of codes in a ring, in which those of 4s and 9s are neighbours.
LABELS = np.arange(2000) % 10
ANGLES = torch.pi / 5 * torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 9, 5])
CENTRES = 1.6 * torch.stack((ANGLES.cos(), ANGLES.sin()), dim=1)
CODES = CENTRES[LABELS] + 0.3 * torch.randn(2000, 2)
UNFOLDED = torch.stack([torch.randn(200, 2) * 10.0**power for power in range(-2, 2)])
MOMENTS = torch.rand(len(STEPS), 10, 28, 28)


class Plane:
    """The dots, as `extras.page.plane_entry` takes them."""

    codes = CODES.numpy()
    labels = LABELS
    limits = ((-3, 3), (-3, 3))
    middle = ((-1, 1), (-1, 1))


def train(model):
    """Teaches a model its samples and where their codes lie: some inside a cluster,
    some between two, some in another digit's."""
    places = (CENTRES + CENTRES.roll(3, dims=0) * torch.rand(10, 1)) * 0.7
    images = IMAGES.view(-1, 28, 28)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(120):
        codes = model.encoder(images)[:, :2]
        loss = (codes - places).square().mean()
        loss += 10 * (model.decoder(codes) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.encoder[-1].bias[2:] = -3  # the logarithms of the variances
        # as sharp as after a long training, for which rounded weights matter most
        model.decoder[-3].weight *= 3
        model.decoder[-3].bias *= 3


def make_models():
    """One model for each entry of the page but the sweep."""
    models = {
        "autoencoder": Autoencoder(),
        "variational": VariationalAutoencoder(),
        "sparse": SparseAutoencoder(784, 10),
    }
    for key in PLANES:
        train(models[key])
    return models


MODELS = make_models()
SWEEP = [SparseAutoencoder(784, 10) for _ in WEIGHTS]
UNFOLDING = SimpleNamespace(
    steps=STEPS,
    losses=LOSSES,
    codes=UNFOLDED,
    labels=LABELS[:200],
    pictures=MOMENTS.numpy(),
)


def make_entry(key, facts="MNIST, 1,000 steps", nodes=10):
    """What one of the scripts puts on the page."""
    if key == "sweep":
        return pages.sweep_entry(SWEEP, WEIGHTS, ERRORS, MEANS, MEAN, STD)
    if key == "sparse":
        model = MODELS[key] if nodes == 10 else SparseAutoencoder(784, nodes)
        return pages.sparse_entry(model, MEAN, STD, facts)
    return pages.plane_entry(MODELS[key], Plane, UNFOLDING, RANDOM, facts)


def make_page(*keys, page=None, **options):
    """The text of a page with the entries of these keys."""
    for key in keys:
        entry = make_entry(key, **options)
        page = pages.put(page, key, entry, SAMPLES, AVERAGE)
    return page


@torch.no_grad()
def encode(key, pixels):
    """The codes (N, 2) of images (N, 784)."""
    return MODELS[key].encoder(pixels.view(-1, 28, 28))[:, :2]


@torch.no_grad()
def decode(key, codes):
    """The images (N, 784) of codes (N, 2)."""
    return MODELS[key].decoder(torch.as_tensor(codes).float()).flatten(1)


@torch.no_grad()
def paint_sparse(model, pixels, kept=1):
    """The activations and the images that a sparse model makes of images (N, 784);
    activations are multiplied by `kept`."""
    activations = model.encoder((pixels - MEAN) / STD)
    return activations, model.decoder(activations * kept) * STD + MEAN


def error(pixels, others):
    """The mean squared difference of each image (N, 784), a list."""
    return (pixels - others).square().mean(dim=-1).tolist()


def around(code):
    """How many of the dots nearest to a code are of each digit, and how far the last
    one lies."""
    code = torch.as_tensor(code, dtype=torch.float64)
    distances, order = (CODES.double() - code).norm(dim=1).sort()
    counts = np.bincount(LABELS[order[:NEAR]], minlength=10)
    return counts, distances[NEAR - 1].item()
