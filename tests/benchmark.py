"""Times training beside the loops that it replaces, in turn and in one process; prints ratios first.

python tests/benchmark.py --data DIR
"""

import argparse
import collections
import contextlib
import io
import itertools
import statistics
import sys
import tempfile
import time
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
from extras import sweep
from extras.checkpoint import Run


def handed_out(data, folder):
    """The assignment's pipeline, each image transformed each time, and a loop with `.item()`: a function that trains
    for a number of batches."""
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, _ in MNIST.resources:
        extract_archive(Path(data, name), raw)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((codelet7.MEAN,), (codelet7.STD,))])
    loader = DataLoader(MNIST(folder, train=True, transform=transform), batch_size=64, shuffle=True)
    model = codelet7.SparseAutoencoder(784, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def train(batches):
        total = 0
        for images, _ in itertools.islice(loader, batches):
            optimizer.zero_grad()
            loss = model.loss_function(images, *model(images))
            loss.backward()
            optimizer.step()
            total += loss.item()

    return train


def first(loader, batches):
    """As many batches of a loader, as a loader of its own."""
    return type("First", (), {"__iter__": lambda _: itertools.islice(loader, batches), "__len__": lambda _: batches})()


def notebook(data):
    """A notebook's usual loop: float64 images in NumPy, converted in each step, plain Adam, `.item()` in each step."""
    images = utils.load_digits(True, data).images / 255.0
    model, losses = autoencoder.Autoencoder(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train(steps):
        for _ in range(steps):
            batch = torch.tensor(images[np.random.randint(0, len(images), 200)], dtype=torch.float32)
            _, reconstructions = model(batch)
            loss = F.mse_loss(reconstructions, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    return train


def ours(data):
    """autoencoder.py's own training, with the products that it allows itself."""
    watched = autoencoder.load_tensors(False, data)[0][:8]
    run = Run(autoencoder.Autoencoder(), watched, batch_size=200, lr=1e-3, seed=0)
    autoencoder.allow_fast_products()
    matmul = torch.backends.mkldnn.matmul
    allowed, matmul.fp32_precision = matmul.fp32_precision, "none"

    def train(steps):
        matmul.fp32_precision = allowed
        autoencoder.train(run, run.step + steps, data=data, threads=torch.get_num_threads())
        matmul.fp32_precision = "none"

    return train


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of MNIST's four files, packed")
    parser.add_argument("--rounds", type=int, default=7, help="times that each is timed")
    args = parser.parse_args()
    loader, model = codelet7.make_dataloader(utils.load_digits(True, args.data)), codelet7.SparseAutoencoder(784, 10)
    weights = [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]
    times = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {  # threads, the function, and how many batches or steps
            "the pipeline handed out": (1, handed_out(args.data, folder), 200),
            "codelet7.py": (1, lambda n: codelet7.train(model, first(loader, n), 1, 1e-4), 200),
            "nine models": (1, lambda n: sweep.train(model, weights, first(loader, n), 1, 1e-4), 200),
            **{f"a notebook's loop, {n} threads": (n, notebook(args.data), 100) for n in (1, 2)},
            **{f"autoencoder.py, {n} threads": (n, ours(args.data), 100) for n in (1, 2)},
        }
        for round, (name, (threads, train, count)) in itertools.product(range(args.rounds + 1), contestants.items()):
            torch.set_num_threads(threads)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train(count)
            if round:  # the first warms up
                times[name].append((time.perf_counter() - start) / count * 1e3)
    fastest = {
        name: min((f"{name}, {n} threads" for n in (1, 2)), key=lambda one: statistics.median(times[one]))
        for name in ("a notebook's loop", "autoencoder.py")
    }
    for above, below, share in (
        ("the pipeline handed out", "codelet7.py", 1),
        ("nine models", "codelet7.py", 9),
        (*fastest.values(), 1),
    ):
        ratios = [a / b / share for a, b in zip(times[above], times[below], strict=True)]
        each = f" (each of the {share})" if share > 1 else ""
        print(f"{statistics.median(ratios):5.2f}  {above}{each} / {below}, from {min(ratios):.2f} to {max(ratios):.2f}")
    for name, values in times.items():
        print(f"{statistics.median(values):8.2f} ms a step  {name}")


if __name__ == "__main__":
    main()
