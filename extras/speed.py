"""How many threads, which matrix products: what makes a step fast."""

import copy
import math
import statistics
import time
import timeit

import torch
from torch.nn import functional as F


def choose_threads(model, images, most):
    """Has PyTorch compute with one thread or with `most`, whichever is faster now.

    Where another program uses a core, several threads wait for each other: a step was
    measured to take up to 100 times as long.
    """
    alone = seconds_of_a_step(model, images, 1)
    together = seconds_of_a_step(model, images, most, give_up=2 * alone)
    torch.set_num_threads(1 if alone <= together else most)


def seconds_of_a_step(model, images, threads, give_up=math.inf):
    """The median of six steps; of fewer, once one takes longer than `give_up`."""
    torch.set_num_threads(threads)
    model = copy.deepcopy(model)
    times = []
    with torch.random.fork_rng(devices=[]):  # the run's own random numbers stay
        while len(times) < 6 and max(times, default=0) <= give_up:
            start = time.perf_counter()
            model.loss(images).backward()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def allow_fast_products():
    """Lets PyTorch multiply with oneDNN where that is much faster, as on some
    processors of AMD, and as exact.

    For that PyTorch wants the permission to round to bfloat16, of which only few
    processors make use.
    """
    matmul = torch.backends.mkldnn.matmul
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200, 784, generator=generator)
    b = torch.randn(192, 784, generator=generator)
    exact = a.double() @ b.double().T
    before = seconds_of_a_product(a, b)
    matmul.fp32_precision = "bf16"
    after = seconds_of_a_product(a, b)
    error = (F.linear(a, b) - exact).norm() / exact.norm()
    if before < 1.4 * after or error > 1e-6:
        matmul.fp32_precision = "none"


def seconds_of_a_product(a, b):
    return min(timeit.repeat(lambda: F.linear(a, b), number=5, repeat=10))
