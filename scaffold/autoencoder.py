"""A dense autoencoder, to be written, with a code of two numbers.

python autoencoder.py                       runs up to what is not written yet
pytest tests/assignment --solution PATH     checks it; run it where tests/ lies

Yours are the places that raise NotImplementedError; all else is given.
"""

import sys
from pathlib import Path

import mnist
from torch import nn

sys.path.append(
    str(Path(__file__).resolve().parent.parent)
)  # in scaffold/, utils.py lies above
from utils import DATA, show

mnist.temporary_dir = lambda: DATA  # where MNIST's files are; nothing is downloaded


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c): f and g are multilayer perceptrons.

    `encoder` takes images `(N, 28, 28)` to codes `(N, latent_dim)`, `decoder` codes
    to images `(N, 28, 28)`.
    """

    def __init__(self, latent_dim=2):
        super().__init__()
        raise NotImplementedError

    def forward(self, images):
        """Encodes and decodes images `(N, 28, 28)`.

        Returns:
            A pair: codes `(N, latent_dim)`, and reconstructions `(N, 28, 28)`.
        """
        raise NotImplementedError


def sample_train(N, return_labels=False):
    """Draws training images at random, out of `mnist.train_images()`, which takes half
    a second: read them once, outside of this function.

    Args:
        N: how many.
        return_labels: whether to return the labels too.

    Returns:
        Images float32 `(N, 28, 28)` in [0, 1]; with `return_labels` a pair of them
        and their labels `(N,)`.
    """
    raise NotImplementedError


def train(model, steps, batch_size=200, lr=1e-3):
    """Trains a model with Adam on the mean squared error of mini-batches, and prints
    now and then how it goes."""
    raise NotImplementedError


def plot(model, samples):
    """Plots images `(N, 28, 28)`, each beside its reconstruction."""
    raise NotImplementedError


if __name__ == "__main__":
    show(sample_train(10))
    model = Autoencoder()
    train(model, steps=50_000)
    plot(model, sample_train(1))
    images, labels = sample_train(10_000, return_labels=True)
    # Yours: the scatter plot of their codes, a code for a 4, and a random code.
