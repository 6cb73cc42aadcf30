"""The page of the trained models, in a real browser without a network; skipped where there is none."""

import json
import shutil
import webbrowser

import numpy as np
import pytest
import torch
from torch import nn

import autoencoder
import codelet7
import explore
import utils
from digits import draw_digits

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

KINDS = {
    "autoencoder": autoencoder.Autoencoder,
    "variational": autoencoder.VariationalAutoencoder,
    "sparse": lambda: codelet7.SparseAutoencoder(28 * 28, 10),
}
FAR = 4  # times larger weights: as steep as after a long training


@pytest.fixture(scope="module")
def test_images():
    """Drawn digits, uint8 `(500, 28, 28)`, and their labels."""
    return draw_digits(500, seed=1)


@pytest.fixture(scope="module")
def trained():
    """The three models after 20 steps on drawn digits, by the key that the page has for them."""
    torch.manual_seed(0)
    images, labels = draw_digits(1000, seed=0)
    images = torch.from_numpy(images) / 255
    models = {}
    for key, make in KINDS.items():
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for batch in images.split(50):
            if key == "sparse":
                x = (batch.flatten(1) - codelet7.MEAN) / codelet7.STD
                loss = model.loss_function(x, *model(x))
            else:
                loss = sum(model.losses(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        plane = None
        if key != "sparse":
            plane = autoencoder.Plane.of(autoencoder.encode(model, images).numpy(), labels)
        models[key] = explore.Trained(model.eval(), "20 steps", plane)
    return models


@pytest.fixture(scope="module")
def steep(trained, test_images):
    """`trained` with larger weights in the last layer of each net, so that rounded weights would show."""
