"""Times a training step of autoencoder.py beside a notebook's loop and beside its matrix products alone.

    python tests/benchmark_autoencoder.py [--data DIR] [--rounds 15]

(a) is the loop of many a notebook: float64 images in NumPy, converted in each step, plain Adam, `.item()` in each
step; (b) is the loop of autoencoder.py; (c) is nothing but the matrix products of a step, forward and backward,
which is the least that any loop can take. They run in turn and in one process, because a machine's speed wanders,
each with the number of threads that `utils.Threads` finds fastest for it in each round.
"""

import itertools
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import utils


def make_parser():
    parser = utils.Parser(description="Time a step of autoencoder.py beside a notebook's and beside its products.")
    parser.add_argument("--data", type=utils.path, metavar="DIR", help="folder of the four MNIST .gz files")
    utils.add_flag(parser, "--rounds", utils.positive_int, 15, "rounds, each with every loop in turn")
    utils.add_flag(parser, "--steps", utils.positive_int, 100, "steps of a loop in a round")
    return parser


if __name__ == "__main__":
    settings = utils.start(make_parser())

import numpy as np
import torch
from torch.nn import functional as F

import autoencoder
import checkpoint

DEVICE = torch.device("cpu")


def notebook(data):
    """(a): returns a function that trains a step."""
    settings = autoencoder.make_parser().parse_args([])
    images = utils.load_digits(True, data, autoencoder.read_with_mnist).images / 255.0
    model = autoencoder.Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    losses = []

    def step():
        chosen = np.random.randint(0, len(images), settings.batch_size)
        batch = torch.tensor(images[chosen], dtype=torch.float32)
        _, reconstructions = model(batch)
        loss = F.mse_loss(reconstructions, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    return step


def ours(data):
    """(b): returns a function that trains a step as autoencoder.py does."""
    settings = autoencoder.make_parser().parse_args(["--steps", "1000000"])
    run = checkpoint.Run(autoencoder.Autoencoder(), settings, utils.MNIST)

    def step():
        images = autoencoder.sample_train(settings.batch_size, False, data, DEVICE, run.generator)
        run.count_step(autoencoder.train_step(run.model, run.optimizer, images))

    return step


def products(data):
    """(c): returns a function that does the matrix products of a step, each time on another batch."""
    size = autoencoder.make_parser().get_default("batch_size")
    weights = [weight.detach() for weight in autoencoder.Autoencoder().parameters() if weight.dim() == 2]
    batches = itertools.cycle(autoencoder.sample_train(100 * size, False, data).flatten(1).split(size))

    def step():
        inputs = [next(batches)]
        for weight in weights:
            inputs.append(inputs[-1] @ weight.T)
        gradient = inputs.pop()
        for number in reversed(range(len(weights))):
            gradient.T @ inputs[number]
            if number > 0:  # nobody asks for the gradient of the images
                gradient = gradient @ weights[number]

    return step


def sampling(data):
    """The share of (b) that draws the batches."""
    size = autoencoder.make_parser().get_default("batch_size")
    generator = np.random.default_rng(0)
    return lambda: autoencoder.sample_train(size, False, data, DEVICE, generator)


def main(settings):
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    steps = {
        "a: a notebook's loop": notebook(settings.data),
        "b: autoencoder.py": ours(settings.data),
        "c: its matrix products": products(settings.data),
        "b's sample_train": sampling(settings.data),
    }
    chosen = {name: utils.Threads(None, DEVICE) for name in steps}
    times = {name: [] for name in steps}
    for _ in range(settings.rounds):
        for name, step in steps.items():
            with chosen[name] as threads:
                threads.choose(step)
                start = time.perf_counter()
                for _ in range(settings.steps):
                    step()
                times[name].append((time.perf_counter() - start) / settings.steps * 1e3)
    for name, values in times.items():
        print(
            f"{name:24} median {statistics.median(values):6.3f} ms a step, from {min(values):.3f} to {max(values):.3f}"
            f", on {chosen[name]}"
        )
    a, b, c, sample = times.values()
    for name, above, below in (("a/b", a, b), ("b/c", b, c), ("sample_train/b", sample, b)):
        ratios = [x / y for x, y in zip(above, below, strict=True)]
        print(f"{name}: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    utils.run(main, settings)
