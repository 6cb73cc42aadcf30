"""Times a training step of autoencoder.py beside a notebook's loop and beside its matrix products alone.

    python tests/benchmark_autoencoder.py [--data DIR] [--rounds 15]

(a) is the loop of many a notebook: float64 images in NumPy, converted in each step, plain Adam, `.item()` in each
step; (b) is the loop of autoencoder.py; (c) is nothing but the matrix products of a step, forward and backward,
which is the least that any loop can take. They run in turn and in one process, because a machine's speed wanders.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import utils


def flags():
    parser = argparse.ArgumentParser(description="Time a step of autoencoder.py beside a notebook's and its products.")
    parser.add_argument("--data", metavar="DIR", help="folder of the four MNIST .gz files")
    utils.add_flag(parser, "--rounds", utils.positive_int, 15, "rounds, each with every loop in turn")
    utils.add_flag(parser, "--steps", utils.positive_int, 100, "steps of a loop in a round")
    return parser


if __name__ == "__main__":
    settings = utils.start(flags())

import numpy as np
import torch
from torch.nn import functional as F

import autoencoder

BATCH_SIZE, LR = 200, 1e-3


def notebook(data):
    """(a): returns a function that trains `steps` steps."""
    images = utils.load_digits(True, data).images / 255.0
    model = autoencoder.Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    losses = []

    def loop(steps):
        for _ in range(steps):
            batch = torch.tensor(images[np.random.randint(0, len(images), BATCH_SIZE)], dtype=torch.float32)
            _, reconstructions = model(batch)
            loss = F.mse_loss(reconstructions, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    return loop


def ours(data):
    """(b): returns a function that trains `steps` steps as autoencoder.py does."""
    model = autoencoder.Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    generator = np.random.default_rng(0)
    history = torch.zeros(1_000_000, len(model.LOSSES))
    done = 0

    def loop(steps):
        nonlocal done
        for _ in range(steps):
            images = autoencoder.sample_train(BATCH_SIZE, False, data, torch.device("cpu"), generator)
            history[done] = autoencoder.train_step(model, optimizer, images)
            done += 1

    return loop


def products(data):
    """(c): returns a function that does the matrix products of `steps` steps, each on another batch."""
    model = autoencoder.Autoencoder()
    weights = [weight.detach() for weight in model.parameters() if weight.dim() == 2]
    batches = autoencoder.sample_train(100 * BATCH_SIZE, False, data, torch.device("cpu")).flatten(1).split(BATCH_SIZE)

    def loop(steps):
        for step in range(steps):
            inputs = [batches[step % len(batches)]]
            for weight in weights:
                inputs.append(inputs[-1] @ weight.T)
            gradient = inputs.pop()
            for number in reversed(range(len(weights))):
                gradient.T @ inputs[number]
                if number > 0:  # nobody asks for the gradient of the images
                    gradient = gradient @ weights[number]

    return loop


def sampling(data):
    """The share of (b) that draws the batches."""
    generator = np.random.default_rng(0)

    def loop(steps):
        for _ in range(steps):
            autoencoder.sample_train(BATCH_SIZE, False, data, torch.device("cpu"), generator)

    return loop


def main(settings):
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    loops = {
        "a: a notebook's loop": notebook(settings.data),
        "b: autoencoder.py": ours(settings.data),
        "c: its matrix products": products(settings.data),
        "b's sample_train": sampling(settings.data),
    }
    times = {name: [] for name in loops}
    for loop in loops.values():
        loop(10)
    for _ in range(settings.rounds):
        for name, loop in loops.items():
            start = time.perf_counter()
            loop(settings.steps)
            times[name].append((time.perf_counter() - start) / settings.steps * 1e3)
    for name, values in times.items():
        print(
            f"{name:24} median {statistics.median(values):6.3f} ms a step, from {min(values):.3f} to {max(values):.3f}"
        )
    a, b, c, sample = times.values()
    for name, above, below in (("a/b", a, b), ("b/c", b, c), ("sample_train/b", sample, b)):
        ratios = [x / y for x, y in zip(above, below, strict=True)]
        print(f"{name}: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main(settings)
