"""Times training beside the loops that it replaces, in turn and in one process; prints ratios first.

python tests/benchmark.py --data DIR
"""

import argparse
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

WEIGHTS = [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]


def usual_loop(model, batches, loss_of):
    """A loop as in most notebooks, with a plain Adam and `.item()` in each step: a function of the number of steps."""
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


def handed_out(data, folder):
    """The assignment's pipeline, which transforms each image each time."""
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, _ in MNIST.resources:
        extract_archive(Path(data, name), raw)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((codelet7.MEAN,), (codelet7.STD,))]
    )
    loader = DataLoader(
        MNIST(folder, train=True, transform=transform), batch_size=64, shuffle=True
    )
    model = codelet7.SparseAutoencoder(784, 10)
    return usual_loop(
        model, lambda: (images for images, _ in loader), model.loss_function
    )


def notebook(data):
    """Images as float64 in NumPy, converted in each step."""
    images = utils.load_digits(True, data).images / 255.0

    def batches():
        while True:
            yield torch.tensor(
                images[np.random.randint(0, len(images), 200)], dtype=torch.float32
            )

    return usual_loop(
        autoencoder.Autoencoder(),
        batches,
        lambda images, _, others: F.mse_loss(others, images),
    )


def ours(data, matmul=torch.backends.mkldnn.matmul):
    """autoencoder.py's own training, with the products that it allows itself."""
    run = Run(
        autoencoder.Autoencoder(),
        torch.rand(8, 28, 28),
        batch_size=200,
        lr=1e-3,
        seed=0,
    )
    autoencoder.allow_fast_products()
    allowed, matmul.fp32_precision = matmul.fp32_precision, "none"

    def train(steps):
        matmul.fp32_precision = allowed
        autoencoder.train(run, run.step + steps, data=data, choose=False)
        matmul.fp32_precision = "none"

    return train


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="folder of MNIST's four files, packed"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="times that each is timed"
    )
    args = parser.parse_args()
    images, labels, source = utils.load_digits(True, args.data)
    loader = codelet7.make_dataloader(
        utils.Digits(images[:12_800], labels[:12_800], source)
    )  # 200 batches
    model = codelet7.SparseAutoencoder(784, 10)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {  # threads, the function, and how many batches or steps
            "the pipeline handed out": (1, handed_out(args.data, folder), 200),
            "codelet7.py": (1, lambda _: codelet7.train(model, loader, 1, 1e-4), 200),
            "nine models": (
                1,
                lambda _: sweep.train(model, WEIGHTS, loader, 1, 1e-4),
                200,
            ),
            **{
                f"a notebook's loop, {n} threads": (n, notebook(args.data), 100)
                for n in (1, 2)
            },
            **{
                f"autoencoder.py, {n} threads": (n, ours(args.data), 100)
                for n in (1, 2)
            },
        }
        times = {name: [] for name in contestants}
        for round, (name, (threads, train, count)) in itertools.product(
            range(args.rounds + 1), contestants.items()
        ):
            torch.set_num_threads(threads)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train(count)
            if round:  # the first warms up
                times[name].append((time.perf_counter() - start) / count * 1e3)
    middle = {name: statistics.median(values) for name, values in times.items()}
    fastest = [
        min([name for name in times if kind in name], key=middle.get)
        for kind in ("loop", "autoencoder")
    ]
    pairs = (
        ("the pipeline handed out", "codelet7.py", 1),
        ("nine models", "codelet7.py", 9),
        (*fastest, 1),
    )
    for above, below, share in pairs:
        ratios = [
            a / b / share for a, b in zip(times[above], times[below], strict=True)
        ]
        each = f" (each of the {share})" if share > 1 else ""
        print(
            f"{statistics.median(ratios):5.2f}  {above}{each} / {below}, from {min(ratios):.2f} to {max(ratios):.2f}"
        )
    for name, value in middle.items():
        print(f"{value:8.2f} ms a step  {name}")


if __name__ == "__main__":
    main()
