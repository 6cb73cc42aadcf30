"""The plane of codes: what lies where in it, what the decoder makes of its places, and how it unfolds.

A model is seen through `decoder`, its call, `losses`, `baseline` and `random_codes` alone.
"""

import math
import textwrap
from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

BLOCK = 10_000  # images that pass through a model at a time, which bounds the memory
NEIGHBOURS, AROUND = 10, 50  # nearest codes that vote on a test code; that say what lies around a place
RANDOM = 1_000  # random codes that are decoded, and pictures that they are compared with
MOSAIC, CELLS = 25, 60  # on a side: images of plane.png; cells of the grid that finds places for the digits' names
SMOOTHING = 500  # steps over which a loss is averaged
GREY = {"cmap": "gray", "vmin": 0, "vmax": 1}
# Measured: contrast at least 2.02 on white and on the page's dark card (#1b1e25). Any two differ by at least 44 in
# CIELAB, and by 31 as deuteranopes and protanopes see them (Machado et al. 2009); matplotlib's "petroff10" reaches 19
# and 18, and 1.6 on white. Found by a random search, and dealt out so that 4 and 9, 3 and 5, 7 and 9 differ by 100.
COLOURS = ["#6c5a79", "#15c3f6", "#8b009f", "#ffa100", "#01ccb4", "#288cff", "#a5c072", "#db1c00", "#99262f", "#180eff"]


def evaluate(model, function, tensor):
    """`function` of `tensor`, block by block, in evaluation mode and without gradients; the mode is put back."""
    like, training = next(model.parameters()), model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([function(block.to(like.dtype).to(like.device)) for block in tensor.split(BLOCK)])
    finally:
        model.train(training)


def encode(model, images):
    """Codes `(N, latent_dim)` of images `(N, 28, 28)`."""
    return evaluate(model, lambda block: model(block)[0], images)


def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)` of images `(N, 28, 28)`."""
    return evaluate(model, lambda block: model(block)[1], images)


def decode(model, codes):
    """Images `(N, 28, 28)` of codes `(N, latent_dim)`, a list or a tensor; on the CPU."""
    return evaluate(model, model.decoder, torch.as_tensor(codes)).cpu()


# --- Measures: codes are compared on the CPU and in double precision, for they may lie far out or close together ------


def neighbours(codes, others, count=NEIGHBOURS):
    """For each of the codes `(N, d)` the indices of the nearest `count` of `others` `(M, d)`, and the distances."""
    near = [torch.cdist(block, others).topk(min(count, len(others)), largest=False) for block in codes.split(500)]
    return torch.cat([found.indices for found in near]), torch.cat([found.values for found in near])


def nearest(pictures, images):
    """For pictures `(N, 28, 28)` the index of the nearest of images `(M, 28, 28)`, and the distance; on the CPU."""
    indices, distances = neighbours(pictures.to(images.dtype).to(images.device).flatten(1), images.flatten(1), 1)
    return indices[:, 0].cpu(), distances[:, 0].cpu()


def principal_axes(rows, count):
    """The mean of rows `(N, d)`, and the `count` axes `(d, count)` along which they vary most."""
    mean = rows.mean(dim=0)
    axes = torch.linalg.eigh(((rows - mean).T @ (rows - mean)).cpu().double())[1]
    return mean, axes[:, -count:].flip(1).to(rows.dtype).to(rows.device)


def slant_and_ink(images):
    """Of images `(N, 28, 28)`, `(N, 2)`: the slant, by how many pixels the ink moves to the right for each pixel up
    (from its second moments), and the ink, the mean of all pixels."""
    images, at = images.cpu().double(), torch.arange(28, dtype=torch.float64)
    weight = images / images.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    right = at - (weight.sum(dim=1) @ at)[:, None]
    up = (weight.sum(dim=2) @ at)[:, None] - at
    slope = torch.einsum("nij,ni,nj->n", weight, up, right) / (weight.sum(dim=2) * up**2).sum(dim=1).clamp(min=1e-9)
    return torch.stack((slope, images.mean(dim=(1, 2))), dim=1)


class Plane(NamedTuple):
    """Where the codes of images lie; of codes of three numbers and more, their first two principal components."""

    codes: np.ndarray  # (N, 2), or (N, 1) for codes of one number
    labels: np.ndarray
    limits: tuple  # (low, high) of c1 and of c2: a square that holds most codes
    middle: tuple = ()  # the same for the crowded middle
    names: tuple = ("$c_1$", "$c_2$")  # of the axes
    flatten: Any = None  # takes a model's codes, `(M, latent_dim)`, to such as `codes`


def plane(model, images, labels):
    """The `Plane` of images `(N, 28, 28)` with labels `(N,)`."""
    codes = encode(model, images).cpu().double()
    mean, axes, names = 0, torch.eye(codes.shape[1]).double(), ("$c_1$", "$c_2$")
    if codes.shape[1] > 2:
        (mean, axes), names = principal_axes(codes, 2), ("first principal component", "second principal component")
    flat = ((codes - mean) @ axes).numpy()
    views = square(flat), square(flat, 0.15)
    return Plane(flat, labels.cpu().numpy(), *views, names, lambda some: ((some.double() - mean) @ axes).numpy())


def square(codes, tail=0.02):
    """(low, high) of c1 and of c2, of one length: the quantiles `tail` to 1 - `tail` of the codes `(N, 2)` in the wider
    direction, and a little more."""
    low, high = np.quantile(codes, (tail, 1 - tail), axis=0)
    half = max(0.55 * (high - low).max(), 1e-6 * np.abs(codes).max(), 1e-6)
    return tuple((float(middle - half), float(middle + half)) for middle in (low + high) / 2)


def inside(codes, limits):
    """Which of the codes `(N, 2)` lie in a square, `(N,)`."""
    low, high = np.transpose(limits)
    return ((codes >= low) & (codes <= high)).all(axis=1)


class Drawn(NamedTuple):
    """What the decoder makes of random codes: how they are drawn, in words; the first 64 pictures; which share
    looks like a digit, see `random_sentences`; and the shares of the digits 0 to 9, by the nearest training images."""

    words: str
    pictures: torch.Tensor
    looks: float
    shares: list

    def caption(self):
        """The share, and how many digits, all equally frequent, would be as varied: e^entropy."""
        varied = math.exp(-sum(share * math.log(share) for share in self.shares if share > 0))
        return "" if math.isnan(self.looks) else f"{self.looks:.0%} look like a digit, as varied as {varied:.1f} of 10"


def draw(model, sample, train_set, test_images):
    """A `Drawn` for each way in which the model draws random codes; and which share of averages of two test images look
    like digits by the same measure. Where many do, it tells nothing, and `looks` is NaN."""
    images, labels = train_set
    codes, distances = encode(model, sample[0]).cpu(), nearest(reconstruct(model, test_images[:RANDOM]), images)[1]
    far, drawn = distances.quantile(0.95), []
    averages = nearest((test_images[:RANDOM] + test_images[-RANDOM:]) / 2, images)[1]
    passing = (averages <= far).float().mean().item()
    normal = torch.randn(RANDOM, codes.shape[1], generator=torch.Generator().manual_seed(0))
    for words, some in model.random_codes(normal, codes).items():
        indices, distances = nearest(decode(model, some), images)
        shares = (labels.cpu()[indices].bincount(minlength=10) / RANDOM).tolist()
        looks = (distances <= far).float().mean().item() if passing < 0.4 else math.nan
        drawn.append(Drawn(words, decode(model, some[:64]), looks, shares))
    return drawn, passing


Chosen = namedtuple("Chosen", "digit code picture share of_all nearest")  # see `choose`


def choose(model, plane, train_set, digit):
    """A `Chosen` code of a digit: of the densest half of its codes, where at least 90 % of the 50 codes around are its
    own, that whose `picture` is nearest to a training image of it; or else that with most of its own around it.

    With the `share` of its own around and `of_all` codes, and the digit of the training image `nearest` to the picture.
    """
    images, labels = train_set
    codes, own = torch.from_numpy(plane.codes), torch.from_numpy(plane.labels) == digit
    indices, distances = neighbours(codes[own], codes, AROUND)
    shares, radius = own[indices].double().mean(dim=1), distances[:, -1]
    good = (shares >= 0.9) & (radius <= radius.median())
    good = good if good.any() else shares == shares.max()
    code, pictures = codes[own][good], decode(model, codes[own][good])
    at = nearest(pictures, images[labels == digit])[1].argmin()
    found = labels[nearest(pictures[at][None], images)[0].item()].item()
    return Chosen(digit, code[at].tolist(), pictures[at], shares[good][at].item(), own.double().mean().item(), found)


def unfolding(kept, losses):
    """The "steps" at which codes were kept, the mean training "losses" of the up to 500 steps before each, and the
    "codes" `(T, M, latent_dim)`."""
    steps, losses = sorted(kept), losses.cpu().double()
    means = [losses[max(0, step - SMOOTHING) : max(1, step)].mean().item() for step in steps]
    return {"steps": steps, "losses": means, "codes": np.stack([kept[step][0].cpu().numpy() for step in steps])}


# --- Sentences -------------------------------------------------------------------------------


def loss_sentences(loss_name, parts, baseline, errors, right, linear):
    """What a model has learned: the parts of its test loss, beside the loss of the mean image; mean squared errors,
    training and test, and the share of test images that neighbours name, beside those of principal components."""
    components = f"{linear[0]} principal component{'s' * (linear[0] > 1)}"
    made_of = " + ".join(f"{name} {part:.1f}" for name, part in parts.items())
    made_of = f" = {made_of}" if len(parts) > 1 else ""
    yield f"Test loss, {loss_name}: {sum(parts.values()):#.4g}{made_of}. The mean image has {baseline:#.4g}."
    yield f"Mean squared error: training {errors[0]:.4f}, test {errors[1]:.4f}. {components}: {linear[1]:.4f}."
    yield f"Test images that their {NEIGHBOURS} nearest codes name: {right:.1%}. {components}: {linear[2]:.1%}."


def observation(distances, middling, mixed, told):
    """What lies where: of each digit the median distance from the middle, and that of all; `mixed[a][b]`, which share
    of the neighbours of a or b is the other; and of slant and ink `told`, by name, which share of the variance within
    each digit its nearest codes predict."""
    out, near = int(np.argmax(distances)), int(np.argmin(distances))
    if distances[out] > 1.5 * middling:
        yield f"The {out}s lie farthest out, at a median distance of {distances[out]:.1f} from the middle."
        yield f"The {near}s lie nearest to it, at {distances[near]:.1f}. For all digits it is {middling:.1f}."
    else:
        yield f"No digit lies far out: the farthest, the {out}s, {distances[out] / middling:.1f} times as far as all."
    (share, a, b), (second, c, d) = sorted((-mixed[a][b], b, a) for a in range(10) for b in range(a))[:2]
    mixing = f"{-share:.0%} of their nearest codes are the other digit's, where 50% would be wholly mixed"
    yield f"The {a}s and {b}s are mixed most: {mixing}. Next come the {c}s and {d}s, with {-second:.0%}."
    for name, some in told.items():
        (low, least), *_, (high, most) = sorted((max(value, 0), digit) for digit, value in enumerate(some))
        span = f"{low:.0%} ({least}s) to {high:.0%} ({most}s) of its variance"
        yield f"Within a digit, the ten nearest codes predict {name}: {span}, where the digit's mean predicts 0%."


def random_sentences(drawn, passing):
    """What random codes give, how that is measured, and whether it is what the assignment expects; see `draw`."""
    if math.isnan(drawn[0].looks):
        yield f"Random codes are not judged: {passing:.0%} of averages of two test images look like digits, too."
        return
    for one in drawn:
        most, least = int(np.argmax(one.shares)), int(np.argmin(one.shares))
        yield f"Random codes from {one.words}: {one.caption()}. Most often {most}s come, least often {least}s."
    yield (
        "Looks like a digit: is no farther from a training image than 95% of the model's own reconstructions are. "
        f"Of averages of two test images {passing:.0%} do. As varied as 5 of 10: as if there were only five digits."
    )
    good = [one.words for one in drawn if one.looks > 0.5]
    if len(drawn) == 1:  # the model was trained for one way
        yield f"The assignment expects digits, {'and most are' if good else 'but most are none'}."
    elif good:
        yield f"The assignment expects no digits, but with {' and with '.join(good)} most look like one."
    else:
        yield "The assignment expects no digits, and most are none."


def chosen_sentence(one):
    """Why a `Chosen` code, and what came of it."""
    around = f"{one.share:.0%} of the {AROUND} nearest codes are {one.digit}s, and {one.of_all:.0%} of all codes."
    code = ", ".join(f"{number:.3g}" for number in one.code)
    return f"A code for a {one.digit}: ({code}). {around} Its picture is most like a {one.nearest} of the training set."


# --- Pictures --------------------------------------------------------------------------------


def sheet(width, height, title, caption=""):
    """An empty figure."""
    figure = Figure((width, height), layout="constrained")
    figure.suptitle(title)
    figure.supxlabel("\n".join(balanced(line, 11 * width) for line in caption.splitlines()), fontsize="medium")
    return figure


def balanced(text, width):
    """Text broken into lines of about one length, of at most about `width` characters."""
    return textwrap.fill(text, len(text) // math.ceil(len(text) / width) + 6)


def tile(pictures, columns, padding=2):
    """Pictures `(N, 28, 28)` side by side, as an array."""
    return make_grid(pictures.unsqueeze(1), nrow=columns, padding=padding)[0].numpy()


def places(plane, limits, star=None):
    """Where the digits' names stand, `(digit, (c1, c2))`: where most codes of a digit are, if most are its own there,
    and not on another name or the star."""
    edges = [np.linspace(*pair, CELLS + 1) for pair in limits]
    counts = [np.histogram2d(*plane.codes[plane.labels == digit].T, bins=edges)[0] for digit in range(10)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(counts, ((0, 0), (2, 2), (2, 2))), (5, 5), axis=(1, 2))
    around, free, found = windows.sum(axis=(3, 4)), np.ones((CELLS, CELLS), bool), []
    middles = [edge[1:] / 2 + edge[:-1] / 2 for edge in edges]
    taken = [] if star is None else [star]
    for digit in np.argsort(-around.max(axis=(1, 2))):
        for place in taken[-1:]:
            near = [abs(middle - at) < 4.5 * (middle[1] - middle[0]) for middle, at in zip(middles, place, strict=True)]
            free &= ~np.outer(*near)
        score = around[digit] * (around[digit] > 0.5 * around.sum(axis=0)) * free
        at = np.unravel_index(score.argmax(), free.shape)
        seen = counts[digit].sum() > 0.25 * (plane.labels == digit).sum()
        if seen and score[at] > max(8, 0.4 * around[digit].max()):
            taken.append([middle[one] for middle, one in zip(middles, at, strict=True)])
            found.append((digit, taken[-1]))
    return found


def scatter(axis, plane, limits, star=None, legend=True):
    """The codes coloured by label; of codes of one number the histogram. A star marks one code."""
    if legend:
        marks = [axis.scatter([], [], color=colour) for colour in COLOURS]
        axis.legend(marks, range(10), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, handletextpad=0)
    if star is not None:
        at = (*star, 0)[:2]
        axis.plot(*at, "*", color="black", markeredgecolor="white", markersize=22, zorder=4, clip_on=False)
    axis.set(xlabel=plane.names[0], xlim=limits[0])
    if plane.codes.shape[1] == 1:
        by_label = [plane.codes[plane.labels == digit, 0] for digit in range(10)]
        axis.hist(by_label, CELLS, range=limits[0], stacked=True, color=COLOURS)
        axis.set(ylabel="codes")
        return
    order = np.random.default_rng(0).permutation(len(plane.codes))  # else the last label would cover the others
    axis.scatter(*plane.codes[order].T, c=np.array(COLOURS)[plane.labels[order]], s=4, alpha=0.7, linewidths=0)
    style = {"path_effects": [withStroke(linewidth=3, foreground="white")], "weight": "bold", "fontsize": 14}
    for digit, place in places(plane, limits, star):
        axis.text(*place, digit, ha="center", va="center", **style)
    axis.set(ylabel=plane.names[1], ylim=limits[1], aspect="equal")


def latent_figure(plane, shape, sentences, about):
    """`latent.png`: the codes by label, whole and in the crowded middle; by slant and by ink."""
    figure = sheet(10, 9.4, f"Codes of {len(plane.codes):,} training images ({about})", "\n".join(sentences))
    axes = figure.subplots(2, 2)
    for axis, limits, words in zip(axes[0], (plane.limits, plane.middle), ("By digit", "The middle"), strict=True):
        scatter(axis, plane, limits)
        axis.set_title(f"{words}: {inside(plane.codes, limits).mean():.0%} of the codes")
    names = "slant (pixels to the right for each pixel up)", "ink (mean of all pixels)"
    for axis, values, name in zip(axes[1], shape.T, names, strict=True):
        (low, high), one = np.quantile(values, (0.02, 0.98)), plane.codes.shape[1] == 1
        height = values if one else plane.codes[:, 1]
        points = axis.scatter(plane.codes[:, 0], height, c=values, s=4, linewidths=0, vmin=low, vmax=high)
        figure.colorbar(points, ax=axis, label=name, extend="both", shrink=0.8)
        axis.set(xlabel=plane.names[0], xlim=plane.limits[0], title=f"By {name.split()[0]}")
        if not one:
            axis.set(ylabel=plane.names[1], ylim=plane.limits[1], aspect="equal")
    return figure


def plane_figure(model, limits, about):
    """`plane.png`: what the decoder makes of the square of the scatter, 25 x 25 images."""
    c1, c2 = (low + (high - low) * (np.arange(MOSAIC) + 0.5) / MOSAIC for low, high in limits)
    codes = np.stack(np.meshgrid(c1, c2[::-1]), axis=-1).reshape(-1, 2)  # the highest c2 on top
    figure = Figure((7, 7))
    side = MOSAIC * 28 / 120 / 7  # a pixel is one at 120 dots an inch
    axis = figure.add_axes((0.11, 0.09, side, side))
    axis.imshow(tile(decode(model, codes), MOSAIC, padding=0), **GREY, extent=np.ravel(limits))
    axis.set(xlabel="$c_1$", ylabel="$c_2$")
    axis.set_title(f"What the decoder makes of the plane ({about})", fontsize="medium")
    return figure


def random_panel(axis, one):
    """64 pictures of a `Drawn`."""
    axis.imshow(tile(one.pictures, 8), **GREY)
    axis.set(xticks=[], yticks=[], title=balanced(one.words, 24), xlabel=one.caption().replace(", ", ",\n"))


def random_figure(drawn, sentences, name, about):
    """`random.png`: what the decoder makes of random codes, a column for each way of drawing them."""
    figure = sheet(max(6, 3.4 * len(drawn)), 6, f"Random codes, decoded: {name}\n({about})", "\n".join(sentences))
    for axis, one in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        random_panel(axis, one)
    return figure


def digits_figure(chosen, about):
    """`digits.png`: a code for each digit, decoded."""
    figure = sheet(10, 5.6, f"A code for each digit, decoded ({about})")
    for axis, one in zip(figure.subplots(2, 5).flat, chosen, strict=True):
        axis.imshow(one.picture.numpy(), **GREY)
        axis.set_title(f"{one.digit} at ({one.code[0]:.3g}, {one.code[1]:.3g})", fontsize="medium")
        words = f"{one.share:.0%} around it are {one.digit}s\nnearest image: label {one.nearest}"
        axis.set(xticks=[], yticks=[], xlabel=words)
    return figure


def code_figure(model, code, images, labels, about, caption=""):
    """`code.png`: a code marked among those of images, beside what it decodes to."""
    picture, where = decode(model, [code])[0], plane(model, images, labels)
    words = f"({', '.join(f'{number:.3g}' for number in code)})"
    figure = sheet(10, 5.4, balanced(f"The code {words} ({about})", 100), caption)
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    at = where.flatten(torch.tensor([code]))[0]
    low, high = np.transpose(where.middle if inside(at[None], where.middle) else where.limits)
    room = 0.05 * (high - low).max()
    grow = max(0, (low + room - at).max(), (at + room - high).max())  # a code far out is shown too, and whole
    scatter(left, where, tuple(zip(low - grow, high + grow, strict=True)), star=at)
    left.set_title(f"among those of {len(where.codes):,} training images")
    right.imshow(picture.numpy(), **GREY)
    right.set(title="decoded", xticks=[], yticks=[])
    return figure


def moments(kept, count):
    """At most `count` of the steps that were kept, the first and the last among them, few early ones."""
    at = np.linspace(0, 1, count) ** 0.6 * (len(kept) - 1)
    return [sorted(kept)[one] for one in np.unique(at.round().astype(int))]


def training_figure(name, loss_name, originals, kept, losses, test_loss, about):
    """`training.png`: eight test images as the model reconstructed them on the way, and the loss by step."""
    figure, steps = sheet(10, 4.8, f"Training of the {name} ({about})"), moments(kept, 8)
    left, right = figure.subplots(1, 2)
    rows = [originals[:8].cpu(), *(kept[step][1].cpu() for step in steps)]
    left.imshow(tile(torch.cat(rows), len(rows[0])), **GREY)
    left.set_yticks([16 + 30 * row for row in range(len(rows))], ["original", *(f"step {step:,}" for step in steps)])
    left.set(xticks=[], title="Test images, reconstructed on the way")
    width = max(1, min(SMOOTHING, len(losses) // 20))
    smooth = np.convolve(losses.cpu().double().numpy(), np.full(width, 1 / width), mode="valid")
    style = {"label": f"training, mean of {width} steps", "marker": "." if len(smooth) == 1 else ""}
    right.semilogy(np.arange(width, len(losses) + 1), smooth, **style)
    right.axhline(test_loss, color="tab:red", linestyle="--", label=f"test, with averaged weights: {test_loss:#.4g}")
    right.set(xlabel="step", title=f"{loss_name[0].upper()}{loss_name[1:]}, logarithmic axis")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}" if smooth.max() < 10 * smooth.min() else "")
    right.grid(alpha=0.3, which="both")
    right.legend()
    return figure


def unfolding_figures(kept, losses, labels, loss_name, about):
    """`unfolding.png`, six moments of the plane; and `unfolding.gif`, an animation of all."""
    steps, means, codes = unfolding(kept, losses).values()
    planes = [Plane(some, labels, square(some)) for some in codes.astype(float)]
    titles = [f"step {step:,}, loss {loss:#.4g}" for step, loss in zip(steps, means, strict=True)]
    title = f"The plane unfolds: codes of {len(labels):,} test images\n{about}; training loss: {loss_name}"
    figure = sheet(10, 7.2, title)
    chosen = [steps.index(step) for step in moments(kept, 6)]
    for place, at in enumerate(chosen, 1):
        axis = figure.add_subplot(2, 3, place)
        scatter(axis, planes[at], planes[at].limits, legend=at == chosen[-1])
        axis.set_title(titles[at])
    # The frame follows calmly: its middle and the logarithm of its size are averaged over five moments.
    ends = np.array([plane.limits for plane in planes]).transpose(0, 2, 1)  # (T, low or high, c1 or c2)
    frames = np.column_stack((ends.mean(axis=1), np.log(np.ptp(ends, axis=1)[:, 0] / 2)))
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    frames = [np.array([1, 2, 3, 2, 1]) / 9 @ padded[at : at + 5] for at in range(len(steps))]
    moving = Figure((5.6, 5.6), dpi=100)
    moving.suptitle(title, fontsize="medium")
    axis = moving.add_axes((0.15, 0.1, 0.74, 0.74))
    scatter(axis, Plane(codes[0][:0], labels[:0], planes[0].limits), planes[0].limits)
    points = axis.scatter(*codes[0].T, c=np.array(COLOURS)[labels], s=5, linewidths=0)

    def show(at):
        middle, half = frames[at][:2], max(math.exp(frames[at][2]), np.abs(ends[at] - frames[at][:2]).max())
        points.set_offsets(codes[at])
        axis.set(xlim=middle[0] + (-half, half), ylim=middle[1] + (-half, half), title=titles[at])

    return figure, FuncAnimation(moving, show, [*range(len(steps)), *[len(steps) - 1] * 8], interval=350)


# --- What the script calls -------------------------------------------------------------------


def report(model, sample, train_set, test_set, losses, kept, name, loss_name, about):
    """What there is to say and to see of a trained model: sentences, and figures by file name.

    The sets are images `(N, 28, 28)` in [0, 1] and labels `(N,)`, the sample is for the scatter; `losses` are those of
    each training step, `kept` is that of `extras.checkpoint.Run`; the names are for the titles, as is `about`, the run.
    """
    (images, labels), (test_images, test_labels) = train_set, (test_set[0], test_set[1].cpu())
    with torch.no_grad():
        losses_there = model.losses(test_images.to(next(model.parameters()).dtype))
    parts = {key: part.item() for key, part in losses_there.items()}
    loss, baseline = sum(parts.values()), model.baseline(test_images)
    figures = {"training.png": training_figure(name, loss_name, test_images, kept, losses, loss, about)}
    codes, test_codes = (encode(model, some).cpu().double() for some in (images, test_images))
    if not (math.isfinite(loss) and codes.isfinite().all() and test_codes.isfinite().all()):
        return ["The training diverged: its loss or codes are infinite or NaN. Only training.png is drawn."], figures
    mean, axes = principal_axes(images.flatten(1), codes.shape[1])
    linear, test_linear = ((some.flatten(1) - mean) @ axes for some in (images, test_images))
    linear_error = F.mse_loss(test_linear @ axes.T + mean, test_images.flatten(1)).item()
    pairs = (codes, test_codes), (linear.cpu().double(), test_linear.cpu().double())
    votes = [F.one_hot(labels.cpu()[neighbours(tests, all)[0]], 10).sum(dim=1) for all, tests in pairs]
    right = [(some.argmax(dim=1) == test_labels).double().mean().item() for some in votes]  # ties: the smaller digit
    errors = [F.mse_loss(reconstruct(model, some).to(some.dtype), some).item() for some in (images, test_images)]
    said = [*loss_sentences(loss_name, parts, baseline, errors, right[0], (codes.shape[1], linear_error, right[1]))]
    where = plane(model, *sample)
    seen = [*observation(*observe(codes, test_codes, votes[0], train_set, test_set))]
    drawn, passing = draw(model, sample, train_set, test_images)
    heard = [*random_sentences(drawn, passing)]
    if loss > 0.99 * baseline:
        seen = ["Nothing was learned: the loss is no better than the mean image's."]
    figures["latent.png"] = latent_figure(where, slant_and_ink(sample[0]).numpy(), seen, about)
    figures["random.png"] = random_figure(drawn, heard[-2:], name, about)
    if codes.shape[1] != 2:
        return [*said, *seen, *heard, "plane, digits, digit4 and unfolding need codes of two numbers."], figures
    chosen = [choose(model, where, train_set, digit) for digit in range(10)]
    figures["plane.png"] = plane_figure(model, where.limits, about)
    figures["digits.png"] = digits_figure(chosen, about)
    figures["digit4.png"] = code_figure(model, chosen[4].code, *sample, about, chosen_sentence(chosen[4]))
    moving = unfolding_figures(kept, losses, test_labels.numpy()[: len(kept[max(kept)][0])], loss_name, about)
    figures["unfolding.png"], figures["unfolding.gif"] = moving
    return [*said, *seen, *heard, chosen_sentence(chosen[4])], figures


def observe(codes, test_codes, votes, train_set, test_set):
    """The arguments of `observation`; `votes` `(M, 10)` are the labels of each test code's neighbours, counted."""
    labels, test_labels, told = train_set[1].cpu(), test_set[1].cpu(), []
    apart = (codes - codes.median(dim=0).values).norm(dim=1)
    counts = torch.stack([votes[test_labels == digit].sum(dim=0) for digit in range(10)]).double()
    mixed = (counts + counts.T) / (counts.sum(dim=1) + counts.sum(dim=1)[:, None])
    shape, test_shape = slant_and_ink(train_set[0]), slant_and_ink(test_set[0])
    for digit in range(10):
        own, of_test = labels == digit, test_labels == digit
        rest = test_shape[of_test] - shape[own][neighbours(test_codes[of_test], codes[own])[0]].mean(dim=1)
        told.append(1 - rest.square().mean(dim=0) / test_shape[of_test].var(dim=0, correction=0).clamp(min=1e-12))
    told = dict(zip(("slant", "ink"), torch.stack(told).T.tolist(), strict=True))
    distances = [apart[labels == digit].median().item() for digit in range(10)]
    return distances, apart.median().item(), mixed.tolist(), told


def compare(models, sample, train_set, test_images, about):
    """`unruly_or_tamed.png`: of models, a dict by name, the codes and random codes."""
    figure = sheet(10, 10, f"Two numbers for a digit, without and with a rule for where they lie\n({about})")
    for (top, bottom), (name, model) in zip(figure.subplots(2, len(models)).T, models.items(), strict=True):
        where, (first, *_) = plane(model, *sample), draw(model, sample, train_set, test_images)[0]
        scatter(top, where, where.limits)
        top.set_title(f"Codes of the {name}")
        random_panel(bottom, first)
        bottom.set_title(f"Random codes from {first.words}, decoded")
    return figure


def for_page(run, sample, test_labels):
    """What the page gets of a `Run` with a code of two numbers, the arguments of `extras.page.plane_entry`."""
    where, normal = plane(run.averaged, *sample), torch.randn(RANDOM, 2, generator=torch.Generator().manual_seed(0))
    moving, ways = unfolding(run.kept, run.losses), run.averaged.random_codes(normal, torch.from_numpy(where.codes))
    spread, random = [*ways.items()][:2][-1]  # the codes' own spread, where there is a choice
    return {
        "codes": where.codes,
        "labels": where.labels,
        "views": (where.limits, where.middle),
        "random": random,
        "spread": f"from {spread}",
        "unfolding": {**moving, "labels": test_labels.cpu().numpy()[: moving["codes"].shape[1]]},
    }
