"""What lies where in the plane of codes: measures, their table, the pictures.

Models are those of autoencoder.py, known by `encode`, `decode` and their call; they and
all images are on the CPU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

from extras import measures
from extras.judge import recognise, train_judge
from extras.measures import format_columns, format_row, nearest

NEIGHBOURS = 10  # nearest codes that tell something of a test code
AROUND = 50  # codes that say what lies around a place
RANDOM = 1_000  # random codes that are decoded
NORMAL, OWN, FAR = "N(0, I)", "the codes' own mean and spread", "N(0, 100^2 I)"
MOSAIC = 25  # images on a side of plane.png
SMOOTHING = 500  # steps over which a loss is averaged
# Any two differ by about 44 or more in CIELAB, and by 31 as the colour-blind see them
# (Machado et al. 2009); found by a random search, and dealt out so that 4 and 9, 3 and
# 5, 7 and 9 differ most.
COLOURS = np.array([
    "#6c5a79", "#15c3f6", "#8b009f", "#ffa100", "#01ccb4",
    "#288cff", "#a5c072", "#db1c00", "#99262f", "#180eff",
])  # fmt: skip


# --- Measures ------------------------------------------------------------------------


@dataclass
class Coded:
    """Images with their labels and codes."""

    images: torch.Tensor  # (N, 28, 28) in [0, 1]
    labels: torch.Tensor  # (N,)
    codes: torch.Tensor  # (N, d)

    def of(self, digit):
        """Those of one digit."""
        own = self.labels == digit
        return Coded(self.images[own], self.labels[own], self.codes[own])


@torch.no_grad()
def encode(model, images, labels):
    """Images `(N, 28, 28)` as `Coded`; in float64, since codes may lie close."""
    return Coded(images, labels, model.encode(images).double())


def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)`; of a variational model without samples."""
    return model.decode(model.encode(images))


@dataclass
class CodeMeasures:
    """Where the codes of test images lie among those of training images."""

    correct: float  # share of them that their ten nearest codes name correctly
    distance: np.ndarray  # (10,) median distance of a digit from the median code
    distance_of_all: float
    neighbours: (
        np.ndarray
    )  # (10, 10) the digits of the codes nearest to a digit, shares
    slant: np.ndarray  # (10,) share of its variance that the nearest codes tell
    ink: np.ndarray  # (10,)


def count_votes(train, test):
    """The labels of the ten training codes nearest to each test code, `(M, 10)`."""
    found = train.labels[nearest(test.codes, train.codes, NEIGHBOURS).indices]
    return F.one_hot(found, 10).sum(dim=1)


def share_correct(votes, labels):
    """How often most votes are for the label; of a draw the smaller digit wins."""
    return (votes.argmax(dim=1) == labels).double().mean().item()


def measure_codes(train, test):
    """`CodeMeasures` of `Coded` images."""
    votes = count_votes(train, test)
    middle = train.codes.median(dim=0).values
    apart = (train.codes - middle).norm(dim=1)
    digits = range(10)
    distances = [apart[train.labels == digit].median().item() for digit in digits]
    slants = [share_told(train, test, measures.slant, digit) for digit in digits]
    inks = [share_told(train, test, measures.ink, digit) for digit in digits]
    return CodeMeasures(
        correct=share_correct(votes, test.labels),
        distance=np.array(distances),
        distance_of_all=apart.median().item(),
        neighbours=measures.mean_by_digit(votes / NEIGHBOURS, test.labels).numpy(),
        slant=np.array(slants),
        ink=np.array(inks),
    )


def share_told(train, test, measure, digit):
    """Which share of the variance of a measure, such as `slant`, among the test images
    of a digit the mean of the ten nearest training codes of that digit predicts; 0
    where that is no better than the mean of all."""
    known = train.of(digit)
    asked = test.of(digit)
    near = nearest(asked.codes, known.codes, NEIGHBOURS).indices
    predictions = measure(known.images)[near].mean(dim=1)
    values = measure(asked.images)
    share_left = measures.share_left(values.numpy(), predictions.numpy())
    return max(1 - share_left, 0)


@dataclass
class JudgedPictures:
    """Pictures, such as decoded random codes, and what the judge reads in them."""

    pictures: torch.Tensor  # (64, 28, 28), the first
    recognised: float  # share of all that it is sure about
    different: float  # effective number of different digits among these


def judge_pictures(judge, pictures):
    share, different = recognise(judge, pictures)
    return JudgedPictures(pictures[:64], share, different)


@torch.no_grad()
def judge_random_codes(model, codes, judge):
    """`JudgedPictures` of random codes, by how they are drawn; `codes` `(N, d)` are
    those of images."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(RANDOM, codes.shape[1], generator=generator)
    drawn = {
        NORMAL: normal,
        OWN: codes.mean(dim=0) + codes.std(dim=0) * normal,
        FAR: 100 * normal,
    }
    return {name: judge_pictures(judge, model.decode(drawn[name])) for name in drawn}


@torch.no_grad()
def judge_controls(model, test, judge):
    """`JudgedPictures` to compare with, by name: reconstructions of `Coded` images, and
    averages of two of them, which are no digits."""
    by_digit = test.images[test.labels.argsort(stable=True)]
    half = len(by_digit) // 2  # so far apart, two are of different digits
    averages = (by_digit[:half] + by_digit[half : 2 * half]) / 2
    pictures = {
        "reconstructions of test images": reconstruct(model, test.images),
        "averages of two different digits": averages,
    }
    return {name: judge_pictures(judge, pictures[name]) for name in pictures}


@dataclass
class ChosenCode:
    """A code for a digit."""

    digit: int
    code: np.ndarray  # (2,)
    picture: torch.Tensor  # (28, 28), decoded
    share: float  # of the codes around it that are of the digit


@torch.no_grad()
def choose_code(model, judge, sample, digit):
    """Of a digit's codes that of whose decoded picture the judge is surest.

    `sample` are `Coded` images.
    """
    codes = sample.of(digit).codes
    pictures = model.decode(codes)
    surest = judge(pictures).log_softmax(dim=1)[:, digit].argmax()
    around = nearest(codes[surest][None], sample.codes, AROUND).indices[0]
    share = (sample.labels[around] == digit).double().mean().item()
    return ChosenCode(digit, codes[surest].numpy(), pictures[surest], share)


@dataclass
class Record:
    """What is measured of a run, with what it was measured on."""

    train: Coded
    test: Coded
    codes: CodeMeasures
    judge: torch.nn.Module  # trained on the images and the model's reconstructions
    random: dict  # `JudgedPictures` of random codes, by how they are drawn
    controls: dict  # `JudgedPictures` to compare with, by name
    errors: dict  # mean squared error of the test images, by what made the codes
    correct: dict  # share that ten nearest codes name correctly, likewise


@torch.no_grad()
def analyse(model, train_set, test_set):
    """The `Record` of a model, over images `(N, 28, 28)` and labels `(N,)`.

    Raises:
        FloatingPointError: the codes are infinite or NaN.
    """
    train = encode(model, *train_set)
    test = encode(model, *test_set)
    if not (train.codes.isfinite().all() and test.codes.isfinite().all()):
        raise FloatingPointError("the codes became infinite; try a smaller --lr")
    count = train.codes.shape[1]
    components = measures.principal_axes(train.images.flatten(1), count)
    linear_train = with_codes(train, components)
    linear_test = with_codes(test, components)
    linear = components.decode(linear_test.codes).view_as(test.images)
    linear_votes = count_votes(linear_train, linear_test)
    mean_image = train.images.mean(dim=0).expand_as(test.images)
    linear_name = f"{count} components"
    codes = measure_codes(train, test)
    judge = make_judge(train, [model])
    return Record(
        train=train,
        test=test,
        codes=codes,
        judge=judge,
        random=judge_random_codes(model, train.codes, judge),
        controls=judge_controls(model, test, judge),
        errors={
            "model": F.mse_loss(reconstruct(model, test.images), test.images).item(),
            linear_name: F.mse_loss(linear, test.images).item(),
            "mean image": F.mse_loss(mean_image, test.images).item(),
        },
        correct={
            "model": codes.correct,
            linear_name: share_correct(linear_votes, test.labels),
        },
    )


def with_codes(coded, components):
    """The same images with principal components as their codes."""
    codes = components.encode(coded.images.flatten(1))
    return Coded(coded.images, coded.labels, codes)


def make_judge(train, models):
    """A judge trained on `Coded` images and on what models make of them."""
    with torch.no_grad():
        reconstructions = [reconstruct(model, train.images) for model in models]
    images = torch.cat([train.images, *reconstructions])
    return train_judge(images, train.labels.repeat(1 + len(models)))


# --- The table -----------------------------------------------------------------------


@dataclass
class LossMeasures:
    """Losses of a trained model, which the script knows how to compute."""

    name: str
    train: float
    parts: dict  # of that of test images, by name; they sum up to it
    last: float  # of test images with the last weights, not averaged
    mean_image: float  # of test images, if the mean image is the answer to each

    @property
    def test(self):
        return sum(self.parts.values())

    @property
    def learned(self):
        """Whether the model is clearly better than the mean image."""
        return self.test < 0.99 * self.mean_image


def format_losses(losses):
    """`LossMeasures`, a line each."""
    parts = losses.parts if len(losses.parts) > 1 else {}
    return "\n".join(
        [
            f"loss: {losses.name}",
            format_row("", "model", "mean image"),
            format_row("loss, training images", f"{losses.train:#.4g}"),
            format_row(
                "loss, test images", f"{losses.test:#.4g}", f"{losses.mean_image:#.4g}"
            ),
            *[format_row(f"  {name}", f"{parts[name]:.2f}") for name in parts],
            format_row("  with the last weights, not averaged", f"{losses.last:#.4g}"),
            format_row(
                "learned more than the mean image", "yes" if losses.learned else "no"
            ),
        ]
    )


def format_errors(record):
    """The errors, and the share named correctly, by what made the codes."""
    errors = [f"{error:.4f}" for error in record.errors.values()]
    correct = [f"{share:.1%}" for share in record.correct.values()]
    return "\n".join(
        [
            format_row("", *record.errors),
            format_row("mean squared error, test images", *errors),
            format_row("10-NN, test images", *correct),
        ]
    )


def format_digits(codes):
    """`CodeMeasures` of each digit, a line each."""
    own = codes.neighbours.diagonal()
    others = codes.neighbours - np.diag(own)
    mixed = [
        f"{others[digit].max():.0%} {others[digit].argmax()}s" for digit in range(10)
    ]
    columns = {
        "digit": range(10),
        "distance": [f"{distance:.1f}" for distance in codes.distance],
        "own": [f"{share:.0%}" for share in own],
        "mixed most": mixed,
        "slant": [f"{share:.0%}" for share in codes.slant],
        "ink": [f"{share:.0%}" for share in codes.ink],
    }
    return "\n".join(
        [
            format_columns(columns),
            f"          all{codes.distance_of_all:13.1f}",
            "",
            "distance: median distance from the median code",
            "own, mixed most: which digits the ten nearest codes are of",
            "slant, ink: share of their variance that the ten nearest codes tell",
        ]
    )


def format_pictures(judged):
    """A line for each of the `JudgedPictures`, a dict by name."""
    lines = [format_row("pictures", "recognised", "different")]
    for name, one in judged.items():
        cells = f"{one.recognised:.0%}", f"{one.different:.1f}"
        lines.append(format_row(name, *cells))
    lines.append("")
    lines.append("recognised: a classifier is over 90% sure which digit it is")
    lines.append(
        "different: effective number of different digits among these, up to 10"
    )
    return "\n".join(lines)


def format_chosen(chosen):
    """A `ChosenCode`."""
    code = f"({chosen.code[0]:.3g}, {chosen.code[1]:.3g})"
    around = f"  {chosen.digit}s among the {AROUND} nearest codes"
    share = f"{chosen.share:.0%}"
    return (
        format_row(f"a code for a {chosen.digit}", code)
        + "\n"
        + format_row(around, share)
    )


# --- Pictures ------------------------------------------------------------------------


@dataclass
class Plane:
    """Codes to be drawn, and two squares, ((low, high) of c1, (low, high) of c2)."""

    codes: np.ndarray  # (N, 2)
    labels: np.ndarray  # (N,)
    limits: tuple  # of the square that holds most of the codes
    middle: tuple  # of the crowded middle


def make_plane(coded):
    """The `Plane` of `Coded` images."""
    codes = coded.codes.numpy()
    middle = square(codes, tail=0.15)
    return Plane(codes, coded.labels.numpy(), square(codes), middle)


def square(codes, tail=0.02):
    """The limits of a square: the quantiles `tail` to 1 - `tail` of the codes `(N, 2)`
    in the wider direction, and a little more."""
    low, high = np.quantile(codes, (tail, 1 - tail), axis=0)
    half = max(0.55 * (high - low).max(), 1e-6 * np.abs(codes).max(), 1e-6)
    centre = (low + high) / 2
    return tuple((float(place - half), float(place + half)) for place in centre)


def inside(codes, limits):
    """Which of the codes `(..., 2)` lie in a square, `(...)`."""
    low, high = np.transpose(limits)
    return ((codes >= low) & (codes <= high)).all(axis=-1)


def names_with_room(plane, limits):
    """The median code of each digit, by digit, from the outside in: where it is in the
    square and not near one that is named already."""
    own = [plane.codes[plane.labels == digit] for digit in range(10)]
    medians = np.array([np.median(codes, axis=0) for codes in own])
    apart = np.abs(medians - np.median(plane.codes, axis=0)).max(axis=1)
    room = 0.045 * np.ptp(limits[0])
    named = {}
    for digit in np.argsort(-apart):
        place = medians[digit]
        is_free = all(np.abs(place - other).max() > room for other in named.values())
        if is_free and inside(place, limits):
            named[digit] = place
    return named


def draw_scatter(axis, plane, limits):
    """The codes in a square, coloured by digit, with the digits' names."""
    order = np.random.default_rng(0).permutation(len(plane.codes))  # none covers others
    colours = COLOURS[plane.labels[order]]
    style = {"s": 4, "alpha": 0.7, "linewidths": 0}
    axis.scatter(*plane.codes[order].T, c=colours, **style)
    outline = [withStroke(linewidth=3, foreground="white")]
    style = {"path_effects": outline, "weight": "bold", "fontsize": 14}
    for digit, place in names_with_room(plane, limits).items():
        axis.text(*place, digit, ha="center", va="center", **style)
    set_square(axis, limits)


def set_square(axis, limits):
    axis.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    axis.set(xlabel="$c_1$", ylabel="$c_2$")


def draw_legend(axis):
    """The digits' colours, at the right of an axis."""
    dots = [axis.scatter([], [], color=colour) for colour in COLOURS]
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    axis.legend(dots, range(10), frameon=False, handletextpad=0, **place)


def draw_square(axis, limits):
    """The outline of a square."""
    (left, right), (bottom, top) = limits
    outline = Rectangle((left, bottom), right - left, top - bottom, fill=False)
    axis.add_patch(outline)


def draw_star(axis, code):
    style = {"color": "black", "markeredgecolor": "white", "markersize": 22}
    axis.plot(*code, "*", zorder=4, clip_on=False, **style)


def draw_values(axis, plane, values, name):
    """The codes coloured by a value `(N,)`, such as the slant of their images."""
    low, high = np.quantile(values, (0.02, 0.98))
    style = {"s": 4, "linewidths": 0, "vmin": low, "vmax": high}
    dots = axis.scatter(*plane.codes.T, c=values, **style)
    axis.figure.colorbar(dots, ax=axis, label=name, extend="both", shrink=0.8)
    set_square(axis, plane.limits)


def draw_pictures(axis, pictures, columns=1):
    """Images `(N, 28, 28)` in [0, 1], `columns` a row."""
    grid = make_grid(pictures[:, None], columns, pad_value=0.5)
    axis.imshow(grid[0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])


def draw_judged(axis, judged, title):
    """The 64 pictures of `JudgedPictures`, with what the judge reads in all."""
    draw_pictures(axis, judged.pictures, 8)
    recognised = f"{judged.recognised:.0%} recognised"
    axis.set_xlabel(f"{recognised},\n{judged.different:.1f} different digits")
    axis.set_title(title, fontsize="medium")


def sheet(width, height, title):
    """An empty figure."""
    figure = Figure((width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def latent_figure(plane, images):
    """`latent.png`: the codes of `images` `(N, 28, 28)` by digit, by slant, by ink."""
    figure = sheet(10, 9.2, f"Codes of {len(plane.codes):,} training images")
    (whole, middle), (by_slant, by_ink) = figure.subplots(2, 2)
    draw_scatter(whole, plane, plane.limits)
    draw_square(whole, plane.middle)
    whole.set_title("By digit")
    draw_scatter(middle, plane, plane.middle)
    draw_legend(middle)
    share = inside(plane.codes, plane.middle).mean()
    middle.set_title(f"The square in the middle: {share:.0%} of the codes")
    name = "slant: pixels to the right for each pixel up"
    draw_values(by_slant, plane, measures.slant(images).numpy(), name)
    by_slant.set_title("By slant")
    draw_values(by_ink, plane, measures.ink(images).numpy(), "ink: mean of all pixels")
    by_ink.set_title("By ink")
    return figure


@torch.no_grad()
def plane_figure(model, limits):
    """`plane.png`: what the decoder makes of a square, 25 x 25 images."""
    places = (np.arange(MOSAIC) + 0.5) / MOSAIC
    (left, right), (bottom, top) = limits
    c1, c2 = np.meshgrid(
        left + (right - left) * places,
        top - (top - bottom) * places,  # the highest c2 on top
    )
    pictures = model.decode(np.stack((c1, c2), axis=-1).reshape(-1, 2))
    figure = sheet(7, 7.2, "What the decoder makes of the plane")
    axis = figure.subplots()
    grid = make_grid(pictures[:, None], MOSAIC, padding=0)[0].numpy()
    extent = (left, right, bottom, top)
    axis.imshow(grid, cmap="gray", vmin=0, vmax=1, extent=extent)
    axis.set(xlabel="$c_1$", ylabel="$c_2$")
    return figure


def random_figure(random):
    """`random.png`: decoded random codes, `JudgedPictures` by how they are drawn."""
    figure = sheet(10, 4.7, "Random codes, decoded")
    for axis, name in zip(figure.subplots(1, len(random)), random, strict=True):
        draw_judged(axis, random[name], name)
    return figure


def digits_figure(chosen):
    """`digits.png`: a code for each digit, decoded."""
    figure = sheet(10, 5.4, "A code for each digit, decoded")
    for axis, one in zip(figure.subplots(2, 5).flat, chosen, strict=True):
        draw_pictures(axis, one.picture[None])
        axis.set_title(f"{one.digit} at ({one.code[0]:.3g}, {one.code[1]:.3g})")
        axis.set_xlabel(f"{one.share:.0%} of the {AROUND} nearest are {one.digit}s")
    return figure


def code_figure(plane, code, picture, title):
    """A code `(2,)` marked among those of images, beside its picture `(28, 28)`."""
    figure = sheet(10, 5.4, title)
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    is_middle = inside(np.array(code), plane.middle)
    limits = plane.middle if is_middle else plane.limits
    limits = square(np.array([*np.transpose(limits), code]), tail=0)  # shows it, too
    draw_scatter(left, plane, limits)
    draw_star(left, code)
    draw_legend(left)
    left.set_title(f"among the codes of {len(plane.codes):,} training images")
    draw_pictures(right, picture[None])
    right.set_title("decoded")
    return figure


# --- Training ------------------------------------------------------------------------


@dataclass
class Unfolding:
    """What became of test images at T moments of the training."""

    steps: list  # (T,)
    losses: list  # (T,) mean training loss of the up to 500 steps before
    codes: np.ndarray  # (T, M, d)
    labels: np.ndarray  # (M,)
    pictures: np.ndarray  # (T, K, 28, 28) reconstructions of a few of them


def make_unfolding(snapshots, losses, labels):
    """The `Unfolding` of what `Progress` kept, and of the labels of its images."""
    steps = sorted(snapshots)
    means = []
    for step in steps:
        before = losses[max(0, step - SMOOTHING) : max(1, step)]
        means.append(before.double().mean().item())
    codes = np.stack([snapshots[step]["codes"].numpy() for step in steps])
    pictures = np.stack([snapshots[step]["pictures"].numpy() for step in steps])
    labels = labels[: codes.shape[1]].numpy()
    return Unfolding(steps, means, codes, labels, pictures)


def spread_moments(unfolding, count):
    """The places of at most `count` moments, the first and the last among them."""
    places = np.linspace(0, 1, count) ** 0.6 * (len(unfolding.steps) - 1)
    return np.unique(places.round().astype(int)).tolist()


@dataclass
class Curve:
    """The loss of a training."""

    losses: torch.Tensor  # (steps,) of the batches
    test_loss: float  # at the end, of test images
    name: str


def training_figure(unfolding, images, curve):
    """`training.png`: `images` `(K, 28, 28)` as they were reconstructed on the way, and
    the `Curve` of the loss."""
    figure = sheet(11, 4.8, "The training")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    draw_reconstructed_on_the_way(left, unfolding, images)
    draw_curve(right, curve)
    return figure


def draw_reconstructed_on_the_way(axis, unfolding, images):
    shown = spread_moments(unfolding, 8)
    rows = [torch.as_tensor(unfolding.pictures[place]) for place in shown]
    draw_pictures(axis, torch.cat([images, *rows]), len(images))
    names = [f"step {unfolding.steps[place]:,}" for place in shown]
    axis.set_yticks(16 + 30 * np.arange(len(shown) + 1), ["original", *names])
    axis.set_title("Test images, reconstructed on the way")


def draw_curve(axis, curve):
    """The mean loss of the last 500 steps, by step, and the loss of test images."""
    steps = len(curve.losses)
    width = max(1, min(SMOOTHING, steps // 20))
    window = np.full(width, 1 / width)
    smooth = np.convolve(curve.losses.double().numpy(), window, mode="valid")
    label = f"training images, mean of {width} steps"
    axis.semilogy(np.arange(width, steps + 1), smooth, label=label)
    label = (
        f"test images, weights averaged\nover the last steps: {curve.test_loss:#.4g}"
    )
    axis.axhline(curve.test_loss, color="tab:red", linestyle="--", label=label)
    axis.set(xlabel="step", ylabel=curve.name, title="Loss, on a logarithmic axis")
    axis.yaxis.set_major_formatter("{x:g}")
    few_ticks = smooth.max() < 10 * smooth.min()
    axis.yaxis.set_minor_formatter("{x:g}" if few_ticks else "")
    axis.grid(alpha=0.3, which="both")
    axis.legend()


def draw_moment(axis, unfolding, place, limits):
    """The plane at a moment of the training."""
    codes = unfolding.codes[place]
    draw_scatter(axis, Plane(codes, unfolding.labels, limits, limits), limits)
    step = unfolding.steps[place]
    axis.set_title(f"step {step:,}, loss {unfolding.losses[place]:#.4g}")


def unfolding_figure(unfolding):
    """`unfolding.png`: six moments of the plane."""
    count = len(unfolding.labels)
    title = (
        f"The plane unfolds: codes of {count:,} test images, loss of training images"
    )
    figure = sheet(10, 7, title)
    shown = spread_moments(unfolding, 6)
    for number, place in enumerate(shown, 1):
        axis = figure.add_subplot(2, 3, number)
        draw_moment(axis, unfolding, place, square(unfolding.codes[place]))
    draw_legend(figure.axes[-1])
    return figure


def unfolding_frames(unfolding):
    """The figure of `unfolding.gif`, and the function that draws its frame `number`."""
    figure = Figure((5.6, 5.8), dpi=100)
    title = "The plane unfolds: codes of test images, loss of training images"
    figure.suptitle(title, fontsize="medium")
    axis = figure.add_axes((0.15, 0.1, 0.74, 0.74))

    def draw_frame(number):
        axis.clear()
        near = unfolding.codes[max(0, number - 1) : number + 2]
        limits = square(np.concatenate(near))  # so the frame follows calmly
        draw_moment(axis, unfolding, number, limits)

    return figure, draw_frame


def comparison_figure(planes, random):
    """`unruly_or_tamed.png`: two models, `Plane`s by name, above what becomes of two
    kinds of random codes, `random[name]` as `judge_random_codes` gives it."""
    title = "Codes, and random codes decoded; one classifier judges both models"
    figure = sheet(11, 9.8, title)
    left, right = planes
    places = [
        [f"{left}: codes", f"{left}: codes", f"{right}: codes", f"{right}: codes"],
        [f"{left}: normal", f"{left}: own", f"{right}: normal", f"{right}: own"],
    ]
    axes = figure.subplot_mosaic(places, height_ratios=(1.6, 1))
    for name in planes:
        draw_scatter(axes[f"{name}: codes"], planes[name], planes[name].limits)
        axes[f"{name}: codes"].set_title(name)
        draw_judged(axes[f"{name}: normal"], random[name][NORMAL], NORMAL)
        draw_judged(axes[f"{name}: own"], random[name][OWN], OWN)
    draw_legend(axes[f"{right}: codes"])
    return figure
