"""Times training beside the loops that it replaces, in turn and in one process.

python tests/benchmark.py --rounds 5
"""

import argparse
import contextlib
import io
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST
from torchvision.datasets.utils import extract_archive

sys.path.insert(0, str(Path(__file__).parents[1]))

import autoencoder
import codelet7
import utils
from extras import speed, sweep
from extras.checkpoint import Progress


@dataclass
class Contestant:
    """A way to train, and how long a step took in each round."""

    name: str
    train: callable  # of the number of steps
    steps: int
    threads: int
    seconds: list = field(default_factory=list)


def usual_loop(model, batches, loss_of):
    """A loop as in most notebooks, with a plain Adam and `.item()` in each step: a
    function of the number of steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def train(steps):
        losses = []
        for images in itertools.islice(batches(), steps):
            optimizer.zero_grad()
            loss = loss_of(images, *model(images))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    return train


def handed_out(folder):
    """The assignment's pipeline, which transforms each image each time."""
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, _ in MNIST.resources:
        extract_archive(utils.DATA / name, raw)
    normalise = transforms.Normalize((codelet7.MEAN,), (codelet7.STD,))
    transform = transforms.Compose([transforms.ToTensor(), normalise])
    dataset = MNIST(folder, train=True, transform=transform)
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    model = codelet7.SparseAutoencoder(784, 10)
    return usual_loop(
        model, lambda: (images for images, _ in loader), model.loss_function
    )


def notebook():
    """Images as float64 in NumPy, converted in each step."""
    images = utils.load_mnist()[0] / 255.0

    def batches():
        while True:
            places = np.random.randint(0, len(images), 200)
            yield torch.tensor(images[places], dtype=torch.float32)

    def loss_of(images, _, reconstructions):
        return F.mse_loss(reconstructions, images)

    return usual_loop(autoencoder.Autoencoder(), batches, loss_of)


def ours():
    """autoencoder.py's own training, with the products that it allows itself."""
    matmul = torch.backends.mkldnn.matmul
    speed.allow_fast_products()
    allowed = matmul.fp32_precision
    matmul.fp32_precision = "none"
    model = autoencoder.Autoencoder()

    def train(steps):
        matmul.fp32_precision = allowed
        autoencoder.train(model, steps, progress=Progress(model, steps))
        matmul.fp32_precision = "none"

    return train


def make_contestants(folder):
    images, labels = utils.load_mnist()
    loader = codelet7.make_dataloader(images[:12_800], labels[:12_800])  # 200 batches
    model = codelet7.SparseAutoencoder(784, 10)

    def train_one(_):
        codelet7.train(model, loader, 1, 1e-4)

    def train_nine(_):
        sweep.train(model, codelet7.WEIGHTS, loader, 1, 1e-4)

    contestants = [
        Contestant("the pipeline handed out", handed_out(folder), 200, 1),
        Contestant("codelet7.py", train_one, 200, 1),
        Contestant("nine models", train_nine, 200, 1),
    ]
    for threads in (1, 2):
        suffix = f", {threads} threads"
        usual = Contestant(f"a notebook's loop{suffix}", notebook(), 100, threads)
        contestants.append(usual)
        contestants.append(Contestant(f"autoencoder.py{suffix}", ours(), 100, threads))
    return contestants


def race(contestants, rounds):
    """Times each, in turn; the first round warms up."""
    for number in range(rounds + 1):
        for one in contestants:
            torch.set_num_threads(one.threads)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                one.train(one.steps)
            if number > 0:
                one.seconds.append((time.perf_counter() - start) / one.steps)


def print_ratio(above, below, share=1):
    """How many times as long a step of `above` takes as one of `below`."""
    pairs = zip(above.seconds, below.seconds, strict=True)
    ratios = [a / b / share for a, b in pairs]
    each = f" (each of the {share})" if share > 1 else ""
    span = f"from {min(ratios):.2f} to {max(ratios):.2f}"
    median = statistics.median(ratios)
    print(f"{median:5.2f}  {above.name}{each} / {below.name}, {span}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="times each is timed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contestants = make_contestants(folder)
        race(contestants, args.rounds)
    pipeline, one, nine, *loops = contestants
    print_ratio(pipeline, one)
    print_ratio(nine, one, len(codelet7.WEIGHTS))
    by_time = sorted(loops, key=lambda loop: statistics.median(loop.seconds))
    usual = next(loop for loop in by_time if "notebook" in loop.name)
    package = next(loop for loop in by_time if "autoencoder" in loop.name)
    print_ratio(usual, package)
    for contestant in contestants:
        milliseconds = 1_000 * statistics.median(contestant.seconds)
        print(f"{milliseconds:8.2f} ms a step  {contestant.name}")


if __name__ == "__main__":
    main()
