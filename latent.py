"""The plane of codes: what lies where in it, and what the decoder makes of its places.

A model is seen through its methods alone: `model(images)`, `model.decoder(codes)`, `model.losses(images)`, and
`model.spread`, which says how numbers in (0, 1) become codes.
"""

import contextlib
import textwrap
from typing import NamedTuple

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

import utils
from utils import GREY, UserError, show

PLOTTED = 10_000  # training images whose codes are plotted
BLOCK = 10_000  # images that pass through a model at a time, which bounds the memory
NEIGHBOURS = 10  # training codes that vote on a test code
RANDOM = 2_000  # random codes that are decoded, and test images that they are compared with
CLEAR = 0.6  # share of a label around a place from which it has a clear majority there
SMOOTHING = 500  # steps over which the loss is averaged for the curve
FEW = 10  # codes, too few to say what lies around a place
CELLS = 60  # a side of the grid in which codes are counted
MOSAIC = 25  # images on a side of the mosaic
# Ten colours that a colour-blind reader can tell apart as far as ten can be (Petroff 2021, arXiv:2107.02270)
COLOURS = matplotlib.style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]


# --- Encoding and decoding -------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(model):
    """Evaluation mode without gradients; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def in_blocks(function, tensor, size=BLOCK):
    """`function` of `tensor`, block by block along its first dimension, concatenated."""
    return torch.cat([function(block) for block in tensor.split(size)])


def encode(model, images):
    """Codes `(N, 2)` of images `(N, 28, 28)`."""
    with evaluating(model):
        return in_blocks(lambda block: model(block)[0], images)


def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)` of images `(N, 28, 28)`."""
    with evaluating(model):
        return in_blocks(lambda block: model(block)[1], images)


def decode(model, codes):
    """Images `(N, 28, 28)` of codes `(N, 2)`, a list or an array, on the CPU."""
    device = next(model.parameters()).device
    with evaluating(model):
        return in_blocks(model.decoder, torch.as_tensor(codes, dtype=torch.float32, device=device)).cpu()


def normal(uniform):
    """The quantiles of N(0, 1) at numbers in (0, 1), an array: where these are random, samples of N(0, 1)."""
    return torch.special.ndtri(torch.as_tensor(uniform)).numpy()


def reconstruction_error(model, images):
    """Mean squared error over all pixels of images `(N, 28, 28)`."""
    return F.mse_loss(reconstruct(model, images), images).item()


@torch.no_grad()
def mean_losses(model, images):
    """The parts of the model's loss of images `(N, 28, 28)`, as numbers."""
    sums = sum(torch.stack(model.losses(block)) * len(block) for block in images.split(BLOCK))
    return (sums / len(images)).tolist()


@torch.no_grad()
def neighbour_share(codes, labels, test_codes, test_labels):
    """Share of the test codes `(M, 2)` whose 10 nearest training codes `(N, 2)` vote for the right label."""

    def vote(block):
        return labels[torch.cdist(block, codes).topk(NEIGHBOURS, largest=False).indices].mode(dim=1).values

    return (in_blocks(vote, test_codes, size=500) == test_labels).float().mean().item()


def principal_components(images, test_images, count=2):
    """The first principal components of images `(N, 28, 28)`, of test images too, `(N, count)` and `(M, count)`; and
    the mean squared error of the test images' reconstructions from them."""
    axes, mean = utils.principal_axes(images, count)
    codes, test_codes = ((some.flatten(1) @ axes - mean @ axes) for some in (images, test_images))
    return codes, test_codes, F.mse_loss(test_codes @ axes.T + mean, test_images.flatten(1)).item()


class Measured(NamedTuple):
    """What is measured of a trained model, beside what answering each image with the mean image gives."""

    loss: str  # what the loss is
    parts: dict  # of the test set's loss, by name
    baseline: float  # the loss of the mean image
    errors: tuple  # mean squared errors, training and test set
    neighbours: float  # see `neighbour_share`
    linear: tuple  # test set's error and `neighbours` by two principal components, the best that is linear
    spread: tuple  # standard deviation of the codes in c1 and c2, the distance of the farthest from their mean

    def total(self):
        """The loss of the test set."""
        return sum(self.parts.values())

    def lines(self):
        """The measurements in words."""
        parts = " = " + " + ".join(f"{part:#.4g} {name}" for name, part in self.parts.items())
        parts = parts if len(self.parts) > 1 else ""
        std1, std2, farthest = self.spread
        return [
            f"{self.loss}, test set: {self.total():#.4g}{parts}; the mean image's: {self.baseline:#.4g}",
            f"mean squared error: {self.errors[0]:.4f} training, {self.errors[1]:.4f} test; "
            f"by two principal components {self.linear[0]:.4f}",
            f"test images that their {NEIGHBOURS} nearest training codes label rightly: {self.neighbours:.1%}; "
            f"by two principal components {self.linear[1]:.1%}",
            f"standard deviation of the codes: {std1:.2f} in c1, {std2:.2f} in c2; the farthest is {farthest:.1f} out",
        ]


def measure(model, images, labels, test_images, test_labels):
    """`Measured`; images `(N, 28, 28)` and labels `(N,)` of the two sets."""
    codes, test_codes = encode(model, images), encode(model, test_images)
    components, test_components, linear_error = principal_components(images, test_images)
    return Measured(
        loss=model.LOSS,
        parts=dict(zip(model.PARTS, mean_losses(model, test_images), strict=True)),
        baseline=model.baseline(images),
        errors=(reconstruction_error(model, images), reconstruction_error(model, test_images)),
        neighbours=neighbour_share(codes, labels, test_codes, test_labels),
        linear=(linear_error, neighbour_share(components, labels, test_components, test_labels)),
        spread=(*codes.std(dim=0).tolist(), (codes - codes.mean(dim=0)).norm(dim=1).max().item()),
    )


def nearest(pictures, images, labels):
    """For pictures `(M, 28, 28)` the digit of the image nearest to each among images `(N, 28, 28)` with labels `(N,)`,
    `(M,)`, and the Euclidean distance between the two, `(M,)`."""
    flat = images.flatten(1)
    closest = [torch.cdist(block.flatten(1), flat).min(dim=1) for block in pictures.to(images.device).split(500)]
    return labels[torch.cat([found.indices for found in closest])], torch.cat([found.values for found in closest])


def named(digit):
    """A digit with its article."""
    return f"{'an' if digit == 8 else 'a'} {digit}"


class RandomDigits(NamedTuple):
    """What the decoder makes of random codes, all of it measured by the nearest training image of each picture."""

    words: str  # how the codes are drawn
    grid: torch.Tensor  # 64 of the pictures, 8 x 8
    shares: list  # of the pictures that are nearest to a 0, a 1, ... a 9
    distance: float  # to the nearest training image, median
    near: float  # share of the pictures that have it nearer than `far`
    usual: float  # the median distance of reconstructed test images
    far: float  # beyond which 5 % of the reconstructed test images have their nearest training image

    def evenness(self):
        """So many digits, all equally frequent, would be as even: the exponential of the entropy, 1 to 10."""
        shares = np.array(self.shares)
        return float(np.exp(-np.sum(shares * np.log(np.maximum(shares, 1e-12)))))

    def sentence(self):
        """The measurements in words."""
        most, least = int(np.argmax(self.shares)), int(np.argmin(self.shares))
        return (
            f"Of {RANDOM:,} random codes {self.words}, {self.shares[most]:.0%} give {named(most)} and "
            f"{self.shares[least]:.1%} {named(least)}, as evenly as {self.evenness():.1f} equally frequent digits "
            f"would come; {self.near:.0%} of the pictures are as near to a training image as 95% of the "
            f"reconstructed test images are (median distance {self.distance:.1f}, reconstructions {self.usual:.1f})"
        )


def random_digits(plane, images, labels, test_images):
    """Gives a `RandomDigits` for each way in which the model draws random codes, one after the other.

    Args:
        images, labels: the training set, `(N, 28, 28)` and `(N,)`.
        test_images: `(M, 28, 28)`, of which the first 2,000 are reconstructed for comparison.
    """
    _, usual = nearest(reconstruct(plane.model, test_images[:RANDOM]), images, labels)
    far = usual.quantile(0.95).item()
    uniform = np.random.default_rng(0).random((RANDOM, 2))
    ways = {plane.model.SPREAD: plane.model.spread(uniform, plane.limits)}
    if width := plane.model.WIDE:
        ways[f"from N(0, {width}² I), with no look at where the data lie"] = width * normal(uniform)
    for words, codes in ways.items():
        pictures = decode(plane.model, codes)
        digits, distances = nearest(pictures, images, labels)
        shares = (digits.bincount(minlength=10) / len(digits)).tolist()
        grid = make_grid(pictures[:64].unsqueeze(1), nrow=8)[0]
        near = (distances <= far).float().mean().item()
        yield RandomDigits(words, grid, shares, distances.median().item(), near, usual.median().item(), far)


def square(codes, tail=0.02):
    """A square of the plane: (low, high) of c1 and of c2, both of one length.

    It spans the quantiles `tail` to 1 - `tail` of the codes `(N, 2)` in the wider direction, and a little more.
    """
    low, high = np.quantile(codes, (tail, 1 - tail), axis=0)
    half = 0.55 * (high - low).max()
    return tuple((middle - half, middle + half) for middle in (low + high) / 2)


class Plane(NamedTuple):
    """A model's plane of codes: those of training images `(N, 2)`, their labels `(N,)`, the `square` that is shown,
    and for the titles where the images come from and how the model was trained."""

    model: torch.nn.Module
    codes: np.ndarray
    labels: np.ndarray
    limits: tuple
    source: str

    @classmethod
    def of(cls, model, images, labels, source):
        """The plane of images `(N, 28, 28)` and their labels `(N,)`."""
        codes = encode(model, images).cpu().numpy()
        return cls(model, codes, labels.cpu().numpy(), square(codes), source)

    def count(self, labels):
        """How many codes with one of `labels` lie in each cell of a grid and the eight cells around it,
        `(CELLS, CELLS)`, c1 first; and the middles of the cells in c1 and in c2, `(CELLS,)` each."""
        chosen = self.codes[np.isin(self.labels, labels)]
        counts, *edges = np.histogram2d(*chosen.T, bins=CELLS, range=self.limits)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 1), (3, 3))
        return windows.sum(axis=(2, 3)), *((edge[1:] + edge[:-1]) / 2 for edge in edges)

    def middle(self):
        """The same plane, of which only the middle is shown."""
        return self._replace(limits=square(self.codes, tail=0.15))

    def inside(self):
        """Share of the codes that lie in the square."""
        low, high = np.transpose(self.limits)
        return float(((self.codes >= low) & (self.codes <= high)).all(axis=1).mean())

    def best_code(self, label, free=None):
        """The code in the middle of the most images of `label`, each place's count taken times the fourth power of
        their share among all images there: where they are many, and nearly alone.

        Args:
            free: cells among which to choose, bool `(CELLS, CELLS)`; None for all.

        Returns:
            The code `(c1, c2)`; the share of `label` among the training codes around it, 0 to 1; and its cell.
        """
        own, c1, c2 = self.count([label])
        all_labels = self.count(range(10))[0]
        share = own / np.maximum(all_labels, 1)
        # A few more of others in each place, or else a single code far out would be the most alone of all.
        score = own * (own / (all_labels + FEW)) ** 4 * (1 if free is None else free)
        at = np.unravel_index(score.argmax(), own.shape)
        return (float(c1[at[0]]), float(c2[at[1]])), float(share[at]), at


# --- Pictures --------------------------------------------------------------------------------


def save_training(run, samples, test_loss, path):
    """`training.png`: eight test images as the model reconstructed them on the way, and the loss by step."""
    figure = Figure(figsize=(13, 5.6), dpi=120, layout="constrained")
    figure.suptitle(f"Training of the {run.model.NAME} ({run.title()})")
    left, right = figure.subplots(1, 2)
    rows = [samples.cpu(), *run.tracked.values()]
    strip = make_grid(torch.cat(rows).unsqueeze(1), nrow=len(samples))[0].numpy()
    left.imshow(strip, **GREY)
    left.set(xticks=[], yticks=[15 + 30 * row for row in range(len(rows))])
    left.set_yticklabels(["original", *(f"step {step:,}" for step in run.tracked)])
    left.tick_params(length=0)
    left.set_title("Test images, reconstructed on the way")

    losses = run.history[: run.step].sum(dim=1).cpu().numpy()
    width = min(SMOOTHING, len(losses))
    smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    right.semilogy(np.arange(width, len(losses) + 1), smooth, label=f"training, mean of the last {width} steps")
    right.axhline(test_loss, color="tab:red", linestyle="--", label=f"test set, averaged weights: {test_loss:#.4g}")
    right.set(xlabel="step", ylabel=run.model.LOSS)
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    right.grid(alpha=0.3, which="both")
    right.legend()
    utils.save(figure, path)


def draw_scatter(axis, plane, size=4, star=None):
    """The codes in the (c1, c2)-plane, coloured by label, with a legend. A label's number stands where the label has
    a clear majority, if anywhere; a star marks the code `star`, if any."""
    order = np.random.default_rng(0).permutation(len(plane.codes))  # else the last label would cover the others
    axis.scatter(*plane.codes[order].T, c=np.array(COLOURS)[plane.labels[order]], s=size, alpha=0.6, linewidths=0)
    free = np.ones((CELLS, CELLS), bool)  # cells not too close to what is already written there
    if star is not None:
        axis.plot(*star, "*", color="black", markeredgecolor="white", markersize=22, zorder=4)
        c1, c2 = plane.count([])[1:]
        free[np.ix_(abs(c1 - star[0]) < 4 * (c1[1] - c1[0]), abs(c2 - star[1]) < 4 * (c2[1] - c2[0]))] = False
    for label in range(10):
        code, share, (at1, at2) = plane.best_code(label, free)
        if share > CLEAR and free[at1, at2]:
            rim = [withStroke(linewidth=3, foreground="white")]
            axis.text(*code, str(label), fontsize=15, weight="bold", ha="center", va="center", path_effects=rim)
            free[max(0, at1 - 3) : at1 + 4, max(0, at2 - 3) : at2 + 4] = False
    axis.set(xlim=plane.limits[0], ylim=plane.limits[1], xlabel="$c_1$", ylabel="$c_2$", aspect="equal")
    marks = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in COLOURS]
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.09), "frameon": False}
    axis.legend(marks, range(10), ncols=10, handletextpad=0, columnspacing=0.8, **below)


def save_latent(plane, path):
    """`latent.png`: where the digits lie, in the frame that holds most codes and in its middle, enlarged."""
    figure = Figure(figsize=(15, 8.6), dpi=120, layout="constrained")
    figure.suptitle(f"Codes of {len(plane.codes):,} training images, coloured by label ({plane.source})")
    middle = plane.middle()
    axes = figure.subplots(1, 2)
    draw_scatter(axes[0], plane)
    axes[0].set_title(f"{plane.inside():.1%} of the codes lie in this frame")
    draw_scatter(axes[1], middle, size=8)
    axes[1].set_title(f"its middle, enlarged, with {middle.inside():.1%} of the codes")
    (left, right), (bottom, top) = middle.limits
    axes[0].add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, linewidth=1.5, zorder=3))
    utils.save(figure, path)


def save_plane(plane, path):
    """`plane.png`: what the decoder makes of the plane, 25 x 25 images, as the model spreads codes."""
    middles = np.repeat((np.arange(MOSAIC)[:, None] + 0.5) / MOSAIC, 2, axis=1)
    c1, c2 = plane.model.spread(middles, plane.limits).T
    codes = np.stack(np.meshgrid(c1, c2[::-1]), axis=-1).reshape(-1, 2)  # the top row is the highest c2
    mosaic = make_grid(decode(plane.model, codes).unsqueeze(1), nrow=MOSAIC, padding=0)[0].numpy()
    figure = Figure(figsize=(8.4, 8), dpi=200)
    axis = figure.add_axes((0.7 / 8.4, 0.5 / 8, 7 / 8.4, 7 / 8))  # 7 inches: 25 images of 28 pixels fit exactly
    axis.set_title(f"What the decoder makes of codes {plane.model.SPREAD} ({plane.source})")
    if np.allclose(np.diff(c1), c1[1] - c1[0]):
        axis.imshow(mosaic, **GREY, extent=np.ravel(plane.limits))
    else:
        axis.imshow(mosaic, **GREY, extent=(0, MOSAIC, 0, MOSAIC))
        ticks = np.arange(0, MOSAIC, 4)
        axis.set_xticks(ticks + 0.5, [f"{code:.2f}" for code in c1[ticks]])
        axis.set_yticks(ticks + 0.5, [f"{code:.2f}" for code in c2[ticks]])
    axis.set(xlabel="$c_1$", ylabel="$c_2$")
    utils.save(figure, path)


def draw_random(upper, lower, drawn):
    """64 random digits on the axes `upper`; below them, on `lower`, how frequent each digit is among many more."""
    upper.imshow(drawn.grid.numpy(), **GREY)
    upper.set_title(f"random codes {drawn.words}")
    upper.axis("off")
    lower.bar(range(10), [100 * share for share in drawn.shares], color=COLOURS)
    lower.axhline(10, color="black", linestyle=":", linewidth=1)
    lower.set(xticks=range(10), ylabel="% of them", xlabel=textwrap.fill(drawn.sentence(), 68))


def save_random(plane, drawn, path):
    """`random.png`: what the decoder makes of random codes, a column for each way of drawing them."""
    figure = Figure(figsize=(6 * len(drawn), 8.6), dpi=120, layout="constrained")
    figure.suptitle(f"What the {plane.model.NAME} makes of random codes\n({plane.source})")
    axes = figure.subplots(2, len(drawn), squeeze=False, height_ratios=(6, 1.3))
    for column, digits in zip(axes.T, drawn, strict=True):
        draw_random(*column, digits)
    utils.save(figure, path)


def save_comparison(planes, drawn, path):
    """`unruly_or_tamed.png`: for each `Plane` the scatter of its codes, above what its first `RandomDigits` are."""
    figure = Figure(figsize=(12, 15.4), dpi=110, layout="constrained")
    figure.suptitle("Two numbers for a digit, without and with a rule for where they lie", fontsize="x-large")
    axes = figure.subplots(3, len(planes), height_ratios=(6, 6, 1.3))
    for (top, middle, bottom), plane, digits in zip(axes.T, planes, drawn, strict=True):
        draw_scatter(top, plane, size=2)
        top.set_title(f"Codes of the {plane.model.NAME} ({plane.source})")
        draw_random(middle, bottom, digits)
        bottom.set_ylim(0, 105 * max(max(other.shares) for other in drawn))  # one scale for all
    utils.save(figure, path)


def save_code(plane, code, path, title=""):
    """A code marked on the scatter, beside the image that the decoder makes of it.

    Raises:
        UserError: the code is so far out that the decoder overflows.
    """
    image = decode(plane.model, [code])[0]
    if not image.isfinite().all():
        raise UserError(f"the code ({code[0]:g}, {code[1]:g}) is so far out that the decoder overflows; choose another")
    figure = Figure(figsize=(9.6, 5.5), dpi=150, layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    code = np.array(code)
    low, high = np.transpose(plane.limits)
    room = 0.05 * (high - low).max()
    grow = max(0, (low + room - code).max(), (code + room - high).max())  # a code far out is shown too, and whole
    draw_scatter(left, plane._replace(limits=tuple(zip(low - grow, high + grow, strict=True))), size=2, star=code)
    left.set_title(f"Codes of {len(plane.codes):,} training images\n({plane.source})")
    right.imshow(image.numpy(), **GREY)
    right.set_title(f"code ({code[0]:.2f}, {code[1]:.2f}), decoded")
    right.axis("off")
    utils.save(figure, path)


class Chosen(NamedTuple):
    """A code that should give a digit."""

    digit: int
    code: tuple  # (c1, c2)
    picture: torch.Tensor  # (28, 28), what it decodes to
    share: float  # of the digit among the training codes around it
    of_all: float  # share of the digit among all training codes
    nearest: int  # the digit of the training image that is nearest to the picture

    def sentence(self):
        """Why this code, and what came of it, in words."""
        return (
            f"Code for {named(self.digit)}: ({self.code[0]:.2f}, {self.code[1]:.2f}); {self.share:.0%} of the training "
            f"codes around it are {self.digit}s ({self.of_all:.0%} of all); "
            f"decoded it is nearest to {named(self.nearest)}"
        )


def choose_codes(plane, images, labels):
    """A list of ten `Chosen`, one for each digit; images `(N, 28, 28)` and labels `(N,)` are the training set's."""
    codes, shares, _ = zip(*(plane.best_code(digit) for digit in range(10)), strict=True)
    pictures = decode(plane.model, codes)
    found, _ = nearest(pictures, images, labels)
    of_all = np.bincount(plane.labels, minlength=10) / len(plane.labels)
    return [Chosen(*chosen) for chosen in zip(range(10), codes, pictures, shares, of_all, found.tolist(), strict=True)]


def save_digit(plane, chosen, folder):
    """`digit4.png` or the like: a `Chosen` code in the plane, and what it decodes to."""
    save_code(plane, chosen.code, folder / f"digit{chosen.digit}.png", chosen.sentence())


def save_digits(chosen, path, source):
    """`digits.png`: the ten `Chosen` as a sheet."""
    titles = [
        f"{one.digit} at ({one.code[0]:.2f}, {one.code[1]:.2f})\n{one.share:.0%} around it are {one.digit}s\n"
        f"nearest to {named(one.nearest)}"
        for one in chosen
    ]
    title = f"A code for each digit, decoded ({source})"
    show([one.picture for one in chosen], path, title=title, titles=titles, columns=5, zoom=7)


def save_pictures(plane, images, labels, test_images, folder):
    """Saves all pictures of a model's plane in a folder; returns what they say, in sentences.

    Args:
        images, labels: the training set, `(N, 28, 28)` and `(N,)`.
        test_images: `(M, 28, 28)`.
    """
    save_latent(plane, folder / "latent.png")
    save_plane(plane, folder / "plane.png")
    drawn = list(random_digits(plane, images, labels, test_images))
    save_random(plane, drawn, folder / "random.png")
    chosen = choose_codes(plane, images, labels)
    save_digits(chosen, folder / "digits.png", plane.source)
    save_digit(plane, chosen[4], folder)
    return [*(digits.sentence() for digits in drawn), chosen[4].sentence()]
