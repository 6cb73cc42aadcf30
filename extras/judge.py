"""A classifier that says whether a decoded picture can be read as a digit."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from extras.measures import count_by_digit, effective_number

CONFIDENT = 0.9  # above this probability a picture counts as recognised


def train_judge(images, labels, epochs=2, batch_size=200, lr=1e-3):
    """A perceptron 784-128-10 that names digits, trained on images `(N, 28, 28)` in
    [0, 1] and their labels `(N,)`. The same data give the same judge."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        judge = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(judge.parameters(), lr=lr)
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(batch_size):
                loss = F.cross_entropy(judge(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return judge.eval()


class Recognition(NamedTuple):
    """What a judge reads in pictures."""

    share: float  # of the pictures that are recognised
    different: float  # effective number of different digits among these, up to 10


@torch.no_grad()
def recognise(judge, pictures):
    """The `Recognition` of pictures `(N, 28, 28)` in [0, 1]."""
    confidence, digits = judge(pictures).softmax(dim=1).max(dim=1)
    recognised = confidence > CONFIDENT
    counts = count_by_digit(digits[recognised])
    return Recognition(recognised.double().mean().item(), effective_number(counts))
