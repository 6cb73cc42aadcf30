"""Times codelet7.py's training beside the pipeline that the assignment hands out, and many models side by side.

    python tests/benchmark_codelet7.py --data DIR [--rounds 3]

All train the same model on batches of 64, in turn and in one process, because a machine's speed wanders; each with the
number of threads that is found to be fastest for it.
"""

import itertools
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import utils


def make_parser():
    parser = utils.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=utils.path, required=True, metavar="DIR", help="folder of the four MNIST .gz files"
    )
    utils.add_flag(parser, "--rounds", utils.positive_int, 3, "times that each is timed")
    return parser


if __name__ == "__main__":
    settings = utils.start(make_parser())

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST
from torchvision.datasets.utils import extract_archive

import codelet7
import sparsity

BATCH_SIZE, LR = 64, 1e-4
COUNTS = (1, 3, 9, 27)  # models side by side


def make_model(weight=codelet7.PENALTY_WEIGHT):
    torch.manual_seed(0)
    return codelet7.SparseAutoencoder(28 * 28, 10, penalty_weight=weight)


def handed_out_dataloader(data, folder):
    """The assignment's pipeline: torchvision's MNIST, unpacked into `folder`, transformed image by image."""
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, _ in MNIST.resources:
        extract_archive(Path(data, name), raw)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((codelet7.MEAN,), (codelet7.STD,))])
    return DataLoader(MNIST(folder, train=True, transform=transform), batch_size=BATCH_SIZE, shuffle=True)


def handed_out():
    """A function that trains on batches as the assignment's loop does, and returns the mean loss."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch(batches):
        total = 0
        for images, _ in batches:
            optimizer.zero_grad()
            hidden, reconstruction = model(images)
            loss = model.loss_function(images, hidden, reconstruction)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(batches)

    return epoch


def ours(loss):
    """The same for a `Loss` or `SideBySide` of codelet7.py; the loss is a tensor."""
    optimizer = codelet7.make_optimizer(loss, LR)
    return lambda batches: codelet7.train_epoch(loss, batches, optimizer)


def side_by_side(count):
    weights = torch.logspace(-5, 0, count).tolist()
    return sparsity.SideBySide([codelet7.Loss(make_model(weight)) for weight in weights])


class Contestant:
    """Times one way to train; `make` gives a function that trains on batches."""

    def __init__(self, train_dataloader, make):
        self.train_dataloader, self.epoch, self.seconds = train_dataloader, make(), []
        self.threads = utils.Threads(None, torch.device("cpu"), codelet7.MOST_THREADS)
        batches, throwaway = itertools.chain.from_iterable(itertools.repeat(train_dataloader)), make()
        with self.threads:
            self.threads.choose(lambda: throwaway([next(batches)]))

    def train(self):
        """Trains an epoch, and notes the seconds; returns its loss."""
        with self.threads:
            start = time.perf_counter()
            loss = self.epoch(self.train_dataloader)
            self.seconds.append(time.perf_counter() - start)
        return loss


def compare_pipelines(data, rounds):
    """An epoch of codelet7.py beside one of the pipeline handed out."""
    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            "handed out": Contestant(handed_out_dataloader(data, folder), handed_out),
            "codelet7.py": Contestant(loader(data), lambda: ours(codelet7.Loss(make_model()))),
        }
        for round in range(1, rounds + 1):
            losses = []
            for name, one in contestants.items():
                losses.append(float(one.train()))
                print(f"epoch {round}, {name:11}: {one.seconds[-1]:6.2f} s, {one.threads}, loss {losses[-1]:.4f}")
            if abs(losses[0] - losses[1]) > 0.005:
                sys.exit(f"the losses of epoch {round} differ by {abs(losses[0] - losses[1]):.4f}, more than 0.005")
    slow, fast = (one.seconds for one in contestants.values())
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    print(f"median {statistics.median(slow):.2f} s and {statistics.median(fast):.2f} s an epoch")
    print(f"ratio: median {statistics.median(ratios):.1f}, from {min(ratios):.1f} to {max(ratios):.1f}")


def compare_counts(data, rounds):
    """What an epoch costs for a model alone, and for one of K side by side."""
    batches = loader(data)
    alone = Contestant(batches, lambda: ours(codelet7.Loss(make_model())))
    together = {count: Contestant(batches, lambda count=count: ours(side_by_side(count))) for count in COUNTS}
    for _ in range(rounds):
        for one in (alone, *together.values()):
            one.train()
    print(f"one alone: {statistics.median(alone.seconds):.2f} s an epoch, {alone.threads}")
    for count, one in together.items():
        seconds = [all_of_them / count for all_of_them in one.seconds]
        ratio = statistics.median(mine / its for mine, its in zip(seconds, alone.seconds, strict=True))
        print(
            f"{count:2} side by side: {statistics.median(seconds):.2f} s an epoch and model, {ratio:.2f} of "
            f"one alone, {one.threads}"
        )


def loader(data):
    return codelet7.make_dataloader(utils.load_digits(True, data), BATCH_SIZE)


def main(settings):
    compare_pipelines(settings.data, settings.rounds)
    compare_counts(settings.data, settings.rounds)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"peak memory of this process: {peak:.0f} MB")


if __name__ == "__main__":
    utils.run(main, settings)
