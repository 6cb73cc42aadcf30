"""The plane of codes: what lies where in it, and what the decoder makes of its places.

A model is seen through its methods alone: `encoder`, `decoder`, its call, `losses`, `baseline`, `spread` and
`random_codes`. What is measured comes back as sentences and figures; nothing is printed or saved here.
"""

import contextlib
import math
import textwrap
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

BLOCK = 10_000  # images that pass through a model at a time, which bounds the memory
NEIGHBOURS = 10  # nearest training codes that vote on a test code
AROUND = 50  # nearest of 10,000 codes, which say what lies around a place
RANDOM = 1_000  # random codes that are decoded, and pictures that they are compared with
MOSAIC = 25  # images on a side of plane.png
CELLS = 60  # on a side of the grid that finds places for the digits' names
SMOOTHING = 500  # steps over which a loss is averaged
GREY = {"cmap": "gray", "vmin": 0, "vmax": 1}
# Measured: contrast at least 2.02 on white and on the page's dark card (#1b1e25). Two of them differ by at least 44 in
# CIELAB, and by 31 as deuteranopes and protanopes see them (Machado et al. 2009); matplotlib's "petroff10" reaches 19
# and 18, and 1.6 on white. Found by a random search, and dealt out so that 4 and 9, 3 and 5, 7 and 9 differ by 100.
COLOURS = "#6c5a79 #15c3f6 #8b009f #ffa100 #01ccb4 #288cff #a5c072 #db1c00 #99262f #180eff".split()


# --- Encoding and decoding -------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(model):
    """Evaluation mode without gradients; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield next(model.parameters())  # of the device and the type that the model computes with
    finally:
        model.train(training)


def encode(model, images):
    """Codes `(N, latent_dim)` of images `(N, 28, 28)`."""
    with evaluating(model) as like:
        return torch.cat([model(block.to(like))[0] for block in images.split(BLOCK)])


def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)` of images `(N, 28, 28)`."""
    with evaluating(model) as like:
        return torch.cat([model(block.to(like))[1] for block in images.split(BLOCK)])


def decode(model, codes):
    """Images `(N, 28, 28)` of codes `(N, latent_dim)`, a list or a tensor; on the CPU."""
    with evaluating(model) as like:
        codes = torch.as_tensor(codes, dtype=like.dtype).to(like.device)
        return torch.cat([model.decoder(block) for block in codes.split(BLOCK)]).cpu()


# --- Measures; codes are compared on the CPU in double precision, because they may lie far apart or close together ---


def neighbours(codes, others, count):
    """For each of the codes `(N, d)` the indices of, and the distances to, the nearest `count` of `others` `(M, d)`."""
    near = [torch.cdist(block, others).topk(count, largest=False) for block in codes.split(500)]
    return torch.cat([found.indices for found in near]), torch.cat([found.values for found in near])


def nearest(pictures, images):
    """For pictures `(N, 28, 28)` the index of the nearest of images `(M, 28, 28)` and the distance to it, `(N,)`."""
    flat, found = images.flatten(1), []
    squares = flat.square().sum(dim=1)
    for block in pictures.to(images).flatten(1).split(500):
        least = torch.addmm(squares, block, flat.T, alpha=-2).min(dim=1)
        found.append((least.indices, (least.values + block.square().sum(dim=1)).clamp(min=0).sqrt()))
    indices, distances = zip(*found, strict=True)
    return torch.cat(indices).cpu(), torch.cat(distances).cpu().double()


def share_named(labels, neighbour_labels):
    """Share of the labels `(N,)` for which most of their neighbours vote, `(N, count)`; ties go to the smaller."""
    return (F.one_hot(neighbour_labels, 10).sum(dim=1).argmax(dim=1) == labels).double().mean().item()


def principal_axes(images, count):
    """The mean of the rows `(N, d)`, and the `count` axes `(d, count)` along which they vary most."""
    mean = images.mean(dim=0)
    gram = (images - mean).T @ (images - mean)
    return mean, torch.linalg.eigh(gram.cpu().double())[1][:, -count:].flip(1).to(images)


def slant_and_ink(images):
    """Of images `(N, 28, 28)`: the slant, by how many pixels the ink moves to the right for each pixel upwards (from its
    second moments), and the ink, the mean of all pixels; `(N, 2)`."""
    images, at = images.cpu().double(), torch.arange(28, dtype=torch.float64)
    weight = images / images.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    x = at - (weight.sum(dim=1) @ at)[:, None]
    y = (weight.sum(dim=2) @ at)[:, None] - at
    covariance = torch.einsum("nij,ni,nj->n", weight, y, x)
    return torch.stack((covariance / (weight.sum(dim=2) * y**2).sum(dim=1).clamp(min=1e-9), images.mean((1, 2))), dim=1)


def explained(codes, values, train_codes, train_values):
    """The share of the variance of values `(N, k)` that the means of the 10 nearest training codes predict, `(k,)`."""
    predicted = train_values[neighbours(codes, train_codes, NEIGHBOURS)[0]].mean(dim=1)
    return 1 - (values - predicted).square().mean(dim=0) / values.var(dim=0, correction=0).clamp(min=1e-12)


class Drawn(NamedTuple):
    """What the decoder makes of random codes, each picture taken for the digit of the training image nearest to it."""

    words: str  # how the codes are drawn
    pictures: torch.Tensor  # the first 64
    looks: float  # share that is no farther from a training image than 95 % of the model's reconstructions
    shares: np.ndarray  # of the digits 0 to 9

    def variety(self):
        """So many digits, all equally frequent, would be as varied: the exponential of the entropy, 1 to 10."""
        return math.exp(-sum(share * math.log(share) for share in self.shares if share > 0))

    def caption(self):
        return f"{self.looks:.0%} look like a digit, as varied as {self.variety():.1f} of 10"


def draw(model, codes, train_set, test_images):
    """A `Drawn` for each way in which the model draws random codes, and as a check of the measure the share of averages
    of two test images that it takes for digits."""
    images, labels = train_set
    far = nearest(reconstruct(model, test_images[:RANDOM]), images)[1].quantile(0.95)
    blends = (test_images[:RANDOM] + test_images[-RANDOM:]) / 2
    normal, drawn = torch.randn(RANDOM, codes.shape[1], generator=torch.Generator().manual_seed(0)), []
    for words, some in model.random_codes(normal, codes).items():
        pictures = decode(model, some)
        index, distances = nearest(pictures, images)
        shares = labels.cpu()[index].bincount(minlength=10).numpy() / RANDOM
        drawn.append(Drawn(words, pictures[:64], (distances <= far).double().mean().item(), shares))
    return drawn, (nearest(blends, images)[1] <= far).double().mean().item()


class Plane(NamedTuple):
    """Where the codes of images lie; of codes of three numbers and more the first two principal components."""

    codes: np.ndarray  # (N, 2), or (N, 1) for codes of one number
    labels: np.ndarray
    limits: tuple  # (low, high) in each direction: a square that holds most codes
    middle: tuple  # the same for the crowded middle
    onto: object  # takes codes as the model gives them, a tensor, to such as these


def plane(model, images, labels):
    """The `Plane` of images `(N, 28, 28)` with labels `(N,)`."""
    codes = encode(model, images).cpu().double()
    mean, axes = principal_axes(codes, 2) if codes.shape[1] > 2 else (0, torch.eye(codes.shape[1]).double())
    flat = ((codes - mean) @ axes).numpy()
    return Plane(flat, labels.cpu().numpy(), square(flat), square(flat, 0.15), lambda some: ((some - mean) @ axes).numpy())


def square(codes, tail=0.02):
    """(low, high) of c1 and of c2, of one length: the quantiles `tail` to 1 - `tail` of the codes `(N, 2)` in the wider
    direction, and a little more."""
    low, high = np.quantile(codes, (tail, 1 - tail), axis=0)
    half = max(0.55 * (high - low).max(), 1e-6 * np.abs(codes).max(), 1e-6)
    return tuple((float(middle - half), float(middle + half)) for middle in (low + high) / 2)


class Chosen(NamedTuple):
    """A code that should give a digit."""

    digit: int
    code: tuple
    picture: torch.Tensor  # (28, 28), what it decodes to
    share: float  # of the digit among the 50 nearest codes
    of_all: float  # share of the digit among all codes
    nearest: int  # digit of the training image that is nearest to the picture

    def sentence(self):
        return (
            f"A code for {named(self.digit)}: ({self.code[0]:.2f}, {self.code[1]:.2f}). Of the {AROUND} nearest codes "
            f"{self.share:.0%} are {self.digit}s (of all codes {self.of_all:.0%}); decoded, it is nearest to "
            f"a training image of {named(self.nearest)}."
        )


def named(digit):
    """A digit with its article."""
    return f"an {digit}" if digit == 8 else f"a {digit}"


def choose(model, plane, train_set, digit):
    """A `Chosen` among the codes of a digit: of those that lie as dense as half of them do, and with at least 90 % of
    the digit around them, the one whose picture is nearest to a training image of the digit; if there is none, the one
    with most of the digit around it."""
    images, labels = train_set
    codes = torch.from_numpy(plane.codes)
    own = codes[plane.labels == digit]
    indices, distances = neighbours(own, codes, AROUND)
    shares = (torch.from_numpy(plane.labels)[indices] == digit).double().mean(dim=1)
    radius = distances[:, -1]
    good = (shares >= 0.9) & (radius <= radius.quantile(0.5))
    if not good.any():
        good = shares == shares.max()
    pictures = decode(model, own[good])
    at = nearest(pictures, images[labels == digit])[1].argmin()
    of = labels[nearest(pictures[at : at + 1], images)[0]].item()
    return Chosen(
        digit, tuple(own[good][at].tolist()), pictures[at], shares[good][at].item(), len(own) / len(codes), of
    )


# --- Sentences -------------------------------------------------------------------------------


def short(loss):
    """A loss with the digits that count."""
    return f"{loss:.4f}" if loss < 1 else f"{loss:.1f}"


def learned(loss, baseline):
    """Whether a test loss is better than that of the mean image, by more than chance."""
    return loss < 0.99 * baseline


def loss_sentences(loss_name, parts, baseline, errors, right, linear):
    """What a model has learned, each measure beside what it would be without.

    Args:
        parts: of the test loss, by name; `baseline`: the loss of answering with the mean image.
        errors: mean squared errors, training and test; `right`: share that the nearest codes label rightly.
        linear: how many principal components, their error and their share.
    """
    loss, components = sum(parts.values()), f"{linear[0]} principal component{'s' * (linear[0] > 1)}"
    made_of = " = " + " + ".join(f"{name} {part:.1f}" for name, part in parts.items()) if len(parts) > 1 else ""
    yield f"Test loss, {loss_name}: {short(loss)}{made_of}; always answering with the mean image: {short(baseline)}."
    if not learned(loss, baseline):
        yield "Nothing was learned: this is no better than the mean image."
    yield (
        f"Mean squared error: {errors[0]:.4f} on training images, {errors[1]:.4f} on test images; "
        f"from {components}, the best linear code: {linear[1]:.4f}."
    )
    yield (
        f"The {NEIGHBOURS} nearest training codes name the digit of {right:.1%} of the test images; "
        f"those in {components} of {linear[2]:.1%}."
    )


def observation(distances, middling, mixed, predicted):
    """What lies where, in at most five sentences.

    Args:
        distances: of the codes of each digit from the middle, medians; `middling`: that of all codes.
        mixed: of pairs of digits the share that each has among the other's neighbours, `(10, 10)`, symmetric.
        predicted: by "slant" and "ink", of each digit the share of its variance that the nearest codes predict.
    """
    far, near = int(np.argmax(distances)), int(np.argmin(distances))
    if distances[far] > 1.5 * middling:
        yield (
            f"The {far}s lie farthest out: median distance from the middle {distances[far]:.1f}, all digits together "
            f"{middling:.1f}, the {near}s only {distances[near]:.1f}."
        )
    else:
        yield f"No digit lies far out: the {far}s lie farthest, {distances[far] / middling:.1f} times the median of all."
    (share, a, b), (next_share, c, d) = sorted((-mixed[a][b], b, a) for a in range(10) for b in range(a))[:2]
    yield (
        f"Most mixed are {a}s and {b}s: of the nearest codes of either, {-share:.0%} are the other (10% if all were "
        f"mixed); then {c}s and {d}s with {-next_share:.0%}."
    )
    for name, some in predicted.items():
        least, most = int(np.argmin(some)), int(np.argmax(some))
        yield (
            f"The place within a digit tells its {name}: the nearest codes predict {max(some[least], 0):.0%} "
            f"({least}s) to {max(some[most], 0):.0%} ({most}s) of its variance (0%: no better than the digit's mean)."
        )


def random_sentences(drawn, blends):
    """What came of random codes, and whether it is what the assignment expects."""
    yield (
        "Random codes. A picture looks like a digit if it is no farther from a training image than 95% of the model's "
        f"own reconstructions; {blends:.0%} of the averages of two test images pass too. Varied as 7.7 of 10: as if only "
        "7.7 digits existed."
    )
    for one in drawn:
        most, least = int(np.argmax(one.shares)), int(np.argmin(one.shares))
        yield (
            f"  {one.words}: {one.caption()}; {one.shares[most]:.0%} are {most}s, {one.shares[least]:.1%} are {least}s."
        )
    easy = [one.words for one in drawn if one.looks > 0.5]
    if len(drawn) == 1:
        yield f"The assignment expects digits: {'so it is' if easy else 'here most pictures are none'}."
    elif easy:
        yield f"Contrary to what the assignment expects, most pictures look like a digit with {' and '.join(easy)}."
    else:
        yield "As the assignment expects, most pictures are hard to recognise."
