"""Times an epoch of codelet7.py beside an epoch of the pipeline that the assignment hands out.

    python tests/benchmark_codelet7.py --data DIR [--rounds 3]

Both train the same model on batches of 64, in turn and in one process, because a machine's speed wanders.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import utils


def flags():
    parser = argparse.ArgumentParser(description="Time codelet7.py's epoch beside the assignment's pipeline.")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the four MNIST .gz files")
    utils.add_flag(parser, "--rounds", utils.positive_int, 3, "epochs of each")
    return parser


if __name__ == "__main__":
    settings = utils.start(flags())

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST
from torchvision.datasets.utils import extract_archive

import codelet7

BATCH_SIZE, LR = 64, 1e-4


def handed_out(data, folder):
    """(a): torchvision's MNIST, transformed image by image; returns a function that trains one epoch."""
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, _ in MNIST.resources:
        extract_archive(Path(data, name), raw)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((codelet7.MEAN,), (codelet7.STD,))])
    dataset = MNIST(folder, train=True, transform=transform)
    train_dataloader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    torch.manual_seed(0)
    model = codelet7.SparseAutoencoder(28 * 28, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch():
        total = 0
        for images, _ in train_dataloader:
            optimizer.zero_grad()
            hidden, reconstruction = model(images)
            loss = model.loss_function(images, hidden, reconstruction)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(train_dataloader)

    return epoch


def ours(data):
    """(b): what codelet7.py runs; returns a function that trains one epoch."""
    train_dataloader = codelet7.make_dataloader(utils.load_digits(True, data), BATCH_SIZE)
    torch.manual_seed(0)
    model = codelet7.SparseAutoencoder(28 * 28, 10)
    optimizer = codelet7.make_optimizer(model, LR)
    return lambda: codelet7.train_epoch(model, train_dataloader, optimizer)


def main(settings):
    threads = torch.get_num_threads()
    seconds = {"handed out": [], "codelet7.py": []}
    with tempfile.TemporaryDirectory() as folder:
        b, a = ours(settings.data), handed_out(settings.data, folder)
        for round in range(1, settings.rounds + 1):
            for name, epoch, count in (("handed out", a, threads), ("codelet7.py", b, min(threads, codelet7.MOST_THREADS))):
                torch.set_num_threads(count)
                start = time.perf_counter()
                loss = epoch()
                seconds[name].append(time.perf_counter() - start)
                print(f"epoch {round}, {name:11}: {seconds[name][-1]:6.2f} s, loss {loss:.4f}", flush=True)
                if name == "handed out":
                    reference = loss
            if abs(loss - reference) > 0.005:
                sys.exit(f"the losses of epoch {round} differ by {abs(loss - reference):.4f}, more than 0.005")
    ratios = [a / b for a, b in zip(*seconds.values())]
    for name, values in seconds.items():
        print(f"{name:11}: median {statistics.median(values):.2f} s an epoch")
    print(f"ratio: median {statistics.median(ratios):.1f}, from {min(ratios):.1f} to {max(ratios):.1f}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"peak memory of this process, both pipelines: {peak:.0f} MB")


if __name__ == "__main__":
    main(settings)
