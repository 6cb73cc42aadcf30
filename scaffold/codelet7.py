"""Codelet 7, to be written: a sparse autoencoder on MNIST.

python codelet7.py                          runs up to what is not written yet
pytest tests/assignment --solution PATH     checks it; run it where tests/ lies

Yours are the places that raise NotImplementedError; all else is given.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.utils import make_grid

sys.path.append(
    str(Path(__file__).resolve().parent.parent)
)  # in scaffold/, utils.py lies above
from utils import load_mnist, show

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images in [0, 1]


def init_weights(linear):
    """Xavier initialisation of a linear layer's weights, in place."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)


class SparseAutoencoder(nn.Module):
    """hidden = sigmoid(W x + b), reconstruction = tanh(W' hidden + b')

    x has `inputDims` pixels, hidden `hDims` nodes.
    """

    def __init__(self, inputDims, hDims):
        super().__init__()
        raise NotImplementedError

    def forward(self, x):
        """Encodes and decodes images.

        Args:
            x: normalised images, `(N, 1, 28, 28)`.

        Returns:
            hidden `(N, hDims)` in [0, 1], and the reconstruction in [-1, 1], of x's
            shape.
        """
        raise NotImplementedError

    def batched_sparsity_penalty(self, hidden):
        """The KL divergence of the nodes' mean activations from rho, summed over nodes.

        Args:
            hidden: activations `(N, hDims)` in [0, 1].

        Returns:
            A scalar, finite.
        """
        raise NotImplementedError

    def loss_function(self, x, hidden, reconstruction):
        """The mean squared error of the pixels plus 1e-4 times the sparsity penalty.

        Args:
            x: normalised images.
            hidden: activations `(N, hDims)`.
            reconstruction: of the shape of x.

        Returns:
            A scalar.
        """
        raise NotImplementedError


def make_dataloader(images, labels, batch_size=64, shuffle=True):
    """Puts images into a `DataLoader`.

    Args:
        images: uint8 `(N, 28, 28)` in [0, 255].
        labels: int64 `(N,)`.

    Returns:
        A `DataLoader` of batches: normalised images `(64, 1, 28, 28)`, and labels.
    """
    pixels = torch.from_numpy(images).unsqueeze(1) / 255
    dataset = TensorDataset((pixels - MEAN) / STD, torch.from_numpy(labels))
    return DataLoader(dataset, batch_size, shuffle)


def train(model, train_dataloader, epochs, lr):
    """Trains a model with Adam, and prints the loss of each epoch, the mean over its
    batches, as in the assignment: Epoch: 1/20 - Train Loss: 0.8029."""
    raise NotImplementedError


def reconstruction_grid(model, images):
    """16 rows of 4 images, each beside its reconstruction, so 8 pictures a row.

    Args:
        images: normalised, `(64, 1, 28, 28)`.

    Returns:
        A grid as `make_grid` makes it, for `show`.
    """
    raise NotImplementedError


def top_images_grid(model, images, node):
    """The 100 images at which a hidden node is most active, ten a row.

    Args:
        images: normalised, `(N, 1, 28, 28)`.
        node: 0 to hDims - 1.

    Returns:
        A grid as `make_grid` makes it, for `show`.
    """
    raise NotImplementedError


if __name__ == "__main__":
    train_dataloader = make_dataloader(*load_mnist())
    batch = next(iter(train_dataloader))
    images, _ = batch
    show(make_grid(list(images), 16))
    model = SparseAutoencoder(28 * 28, 10)
    train(model, train_dataloader, epochs=20, lr=1e-4)
    show(reconstruction_grid(model, images))
    all_images, _ = train_dataloader.dataset.tensors
    show(top_images_grid(model, all_images, node=0))
