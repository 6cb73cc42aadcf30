"""The plane of codes: what lies where in it, what the decoder makes of its places, and how it unfolds.

A model is seen through `decoder`, its call, `losses`, `baseline` and `random_codes` alone.
"""

import math
import textwrap
from collections import namedtuple

import numpy as np
import torch
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

NEIGHBOURS, AROUND = 10, 50  # nearest codes that vote on a test code; that say what lies around a place
RANDOM = 1_000  # random codes that are decoded, and pictures that they are compared with
MOSAIC = 25  # images on a side of plane.png
SMOOTHING = 500  # steps over which a loss is averaged
GREY = {"cmap": "gray", "vmin": 0, "vmax": 1}
# Measured: contrast at least 2.02 on white and on the page's dark card (#1b1e25). Any two differ by at least 44 in
# CIELAB, and by 31 as deuteranopes and protanopes see them (Machado et al. 2009); matplotlib's "petroff10" reaches 19
# and 18, and 1.6 on white. Found by a random search, and dealt out so that 4 and 9, 3 and 5, 7 and 9 differ by 100.
COLOURS = ["#6c5a79", "#15c3f6", "#8b009f", "#ffa100", "#01ccb4", "#288cff", "#a5c072", "#db1c00", "#99262f", "#180eff"]

# Codes of images (N, 2), or (N, 1); their labels; two squares ((low, high) of c1, of c2), one that holds most of them
# and one of the crowded middle; and the names of the axes.
Plane = namedtuple("Plane", "codes labels limits middle names", defaults=[(), ("$c_1$", "$c_2$")])
# Random codes: how they are drawn, in words; 64 of them decoded; the share that looks like a digit, see
# `random_sentences`; and the shares of the digits 0 to 9, by the nearest training images.
Drawn = namedtuple("Drawn", "words pictures looks shares")
# A code of a digit, decoded; the shares of the digit around it and of all codes; the label of the nearest image.
Chosen = namedtuple("Chosen", "digit code picture share of_all nearest")


@torch.no_grad()
def evaluate(model, function, tensor):
    """`function` of `tensor`, in evaluation mode and without gradients; the mode is put back."""
    training = model.training
    model.eval()
    try:
        return function(tensor.to(next(model.parameters())))
    finally:
        model.train(training)


def encode(model, images):
    """Codes `(N, latent_dim)` of images `(N, 28, 28)`, on the CPU and in float64: they may lie close together."""
    return evaluate(model, model, images)[0].cpu().double()


def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)` of images `(N, 28, 28)`."""
    return evaluate(model, model, images)[1]


def decode(model, codes):
    """Images `(N, 28, 28)` of codes `(N, latent_dim)`, a list or a tensor; on the CPU."""
    return evaluate(model, model.decoder, torch.as_tensor(codes)).cpu()


# --- Measures --------------------------------------------------------------------------------


def nearest(rows, others, count=1):
    """For each of `rows` `(N, d)` or `(N, 28, 28)` the indices of the nearest `count` of `others`, and the distances,
    both `(N, count)`, on the CPU."""
    others, blocks = others.flatten(1), rows.to(others).flatten(1).split(500)
    found = [torch.cdist(block, others).topk(min(count, len(others)), largest=False) for block in blocks]
    return torch.cat([one.indices for one in found]).cpu(), torch.cat([one.values for one in found]).cpu()


def principal_axes(rows, count):
    """The mean of rows `(N, d)`, and the `count` axes `(d, count)` along which they vary most."""
    axes = torch.linalg.eigh(torch.cov(rows.T).cpu().double()).eigenvectors
    return rows.mean(dim=0), axes[:, -count:].flip(1).to(rows)


def slant_and_ink(images):
    """Of images `(N, 28, 28)`, `(N, 2)`: the slant, by how many pixels the ink moves to the right for each pixel up
    (from its second moments), and the ink, the mean of all pixels."""
    images, at = images.cpu().double(), torch.arange(28, dtype=torch.float64)
    weight = images / images.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    right = at - (weight.sum(dim=1) @ at)[:, None]
    up = (weight.sum(dim=2) @ at)[:, None] - at
    slope = torch.einsum("nij,ni,nj->n", weight, up, right) / (weight.sum(dim=2) * up**2).sum(dim=1).clamp(min=1e-9)
    return torch.stack((slope, images.mean(dim=(1, 2))), dim=1)


def plane(codes, labels):
    """The `Plane` of codes as `encode` gives them; of three numbers and more, their first two principal components."""
    names = "$c_1$", "$c_2$"
    if codes.shape[1] > 2:
        (mean, axes), names = principal_axes(codes, 2), ("first principal component", "second principal component")
        codes = (codes - mean) @ axes
    codes = codes.numpy()
    return Plane(codes, labels.cpu().numpy(), square(codes), square(codes, 0.15), names)


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


def observe(codes, test_codes, votes, train_set, test_set):
    """The arguments of `observation`; `votes` `(M, 10)` are the labels of each test code's neighbours, counted."""
    labels, test_labels, told = train_set[1].cpu(), test_set[1].cpu(), []
    apart = (codes - codes.median(dim=0).values).norm(dim=1)
    counts = torch.stack([votes[test_labels == digit].sum(dim=0) for digit in range(10)]).double()
    mixed = (counts + counts.T) / (counts.sum(dim=1) + counts.sum(dim=1)[:, None])
    shape, test_shape = slant_and_ink(train_set[0]), slant_and_ink(test_set[0])
    for digit in range(10):
        own, of_test = labels == digit, test_labels == digit
        near = nearest(test_codes[of_test], codes[own], NEIGHBOURS)[0]
        rest = test_shape[of_test] - shape[own][near].mean(dim=1)
        told.append(1 - rest.square().mean(dim=0) / test_shape[of_test].var(dim=0, correction=0).clamp(min=1e-12))
    told = dict(zip(("slant", "ink"), torch.stack(told).T.tolist(), strict=True))
    distances = [apart[labels == digit].median().item() for digit in range(10)]
    return distances, apart.median().item(), mixed.tolist(), told


def random_codes(model, codes):
    """What `model.random_codes` gives, always of the same sample."""
    return model.random_codes(torch.randn(RANDOM, codes.shape[1], generator=torch.Generator().manual_seed(0)), codes)


def draw(model, codes, train_set, test_images):
    """A `Drawn` for each way in which the model draws random codes; and which share of averages of two test images look
    like digits by the same measure. Where many do, it tells nothing, and `looks` is NaN."""
    (images, labels), first = train_set, test_images[:RANDOM]
    far = nearest(reconstruct(model, first), images)[1].quantile(0.95)
    passing = (nearest((first + test_images[-RANDOM:]) / 2, images)[1] <= far).double().mean().item()
    drawn = []
    for words, some in random_codes(model, codes).items():
        pictures = decode(model, some)
        indices, distances = nearest(pictures, images)
        looks = (distances <= far).double().mean().item() if passing < 0.4 else math.nan
        shares = labels.cpu()[indices.flatten()].bincount(minlength=10) / RANDOM
        drawn.append(Drawn(words, pictures[:64], looks, shares.tolist()))
    return drawn, passing


def choose(model, plane, train_set, digit):
    """The `Chosen` code of a digit: of the densest half of its codes, where at least 90 % of the 50 codes around are
    its own, that whose picture is nearest to a training image of it; or else that with most of its own around it."""
    images, labels = train_set
    codes, own = torch.from_numpy(plane.codes), torch.from_numpy(plane.labels) == digit
    indices, distances = nearest(codes[own], codes, AROUND)
    shares, radius = own[indices].double().mean(dim=1), distances[:, -1]
    good = (shares >= 0.9) & (radius <= radius.median())
    good = good if good.any() else shares == shares.max()
    pictures = decode(model, codes[own][good])
    at = nearest(pictures, images[labels == digit])[1].argmin()
    found, code = labels[nearest(pictures[at][None], images)[0].item()].item(), codes[own][good][at].tolist()
    return Chosen(digit, code, pictures[at], shares[good][at].item(), own.double().mean().item(), found)


def unfolding(kept, losses, labels):
    """The "steps" at which codes were kept, the mean training "losses" of the up to 500 steps before each, the "codes"
    `(T, M, latent_dim)` and their "labels" `(M,)`."""
    steps, losses = sorted(kept), losses.cpu().double()
    means = [losses[max(0, step - SMOOTHING) : max(1, step)].mean().item() for step in steps]
    codes = np.stack([kept[step][0].numpy() for step in steps])
    return {"steps": steps, "losses": means, "codes": codes, "labels": labels.cpu().numpy()[: codes.shape[1]]}


# --- Sentences -------------------------------------------------------------------------------


def loss_sentences(loss_name, parts, baseline, errors, right, linear):
    """What a model has learned: the parts of its test loss, beside the loss of the mean image; mean squared errors,
    training and test, and the share of test images that neighbours name, beside those of principal components."""
    components = f"{linear[0]} principal component{'s' * (linear[0] > 1)}"
    made_of = " + ".join(f"{name} {part:.2f}" for name, part in parts.items())
    made_of = f" = {made_of}" if len(parts) > 1 else ""
    yield f"Test loss, {loss_name}: {sum(parts.values()):#.4g}{made_of}. The mean image has {baseline:#.4g}."
    yield f"Mean squared error: training {errors[0]:.4f}, test {errors[1]:.4f}. {components}: {linear[1]:.4f}."
    labelled = f"Test images labelled rightly by their {NEIGHBOURS} nearest codes"
    yield f"{labelled}: {right:.1%}. {components}: {linear[2]:.1%}."


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
        span = f"{low:.0%} ({least}s) to {high:.0%} ({most}s)"
        yield f"Among images of one digit, the ten nearest codes explain {span} of the variance of {name}."


def random_caption(one):
    """Of a `Drawn`, the share, and how many digits, all equally frequent, would be as varied: e^entropy."""
    varied = math.exp(-sum(share * math.log(share) for share in one.shares if share > 0))
    return "" if math.isnan(one.looks) else f"{one.looks:.0%} look like a digit, as varied as {varied:.1f} of 10"


def random_sentences(drawn, passing):
    """What random codes give, how that is measured, and whether it is what the assignment expects; see `draw`."""
    if math.isnan(drawn[0].looks):
        yield f"Random codes are not judged: {passing:.0%} of averages of two test images look like digits, too."
        return
    for one in drawn:
        most, least = int(np.argmax(one.shares)), int(np.argmin(one.shares))
        yield f"Random codes from {one.words}: {random_caption(one)}. Most often {most}s come, least often {least}s."
    yield (
        "Looks like a digit: is no farther from a training image than 95% of the model's own reconstructions are, so "
        "that a blurred model passes more easily. Of averages of two test images, which are no digits, "
        f"{passing:.0%} do. As varied as 5 of 10: as if there were only five digits."
    )
    good = [one.words for one in drawn if one.looks > 0.5]
    if len(drawn) == 1:  # the model was trained for one way
        yield f"The assignment expects digits, {'and most look like one' if good else 'but most look like none'}."
    elif good:
        yield f"The assignment expects no digits, but with {' and with '.join(good)} most look like one."
    else:
        yield "The assignment expects no digits, and most look like none."


def chosen_sentence(one):
    """Why a `Chosen` code, and what came of it."""
    around = f"{one.share:.0%} of the {AROUND} nearest codes are {one.digit}s (of all codes {one.of_all:.0%})."
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


def picture(axis, pictures, columns=1, **texts):
    """Draws images `(N, 28, 28)` side by side, in columns; texts: `title`, `xlabel`."""
    axis.imshow(make_grid(pictures.unsqueeze(1), columns)[0].numpy(), **GREY)
    axis.set(xticks=[], yticks=[], **texts)


def places(plane, limits, star=()):
    """Where the digits' names stand, a dict: at the densest place of a digit where most codes are its own and which is
    not on another name or the star; nowhere, if few of its codes are there."""
    shown, side = inside(plane.codes, limits), np.ptp(limits[0])
    codes, labels = plane.codes[shown][:2_500], plane.labels[shown][:2_500]
    near = torch.cdist(*[torch.from_numpy(codes)] * 2).numpy() < 0.04 * side
    own, found = (near & (labels[:, None] == labels)).sum(axis=1), {}
    for at in np.argsort(-own, kind="stable"):
        digit, taken = labels[at], [*found.values(), *star]
        many = own[at] > max(0.05 * (labels == digit).sum(), 0.4 * own[labels == digit].max(), 0.5 * near[at].sum())
        if digit not in found and many and all(np.abs(codes[at] - place).max() > 0.07 * side for place in taken):
            found[digit] = codes[at]
    return found


def scatter(axis, plane, limits, star=(), legend=True):
    """The codes coloured by label; of codes of one number the histogram. `star` holds the one code to mark, or none."""
    if legend:
        marks = [axis.scatter([], [], color=colour) for colour in COLOURS]
        axis.legend(marks, range(10), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, handletextpad=0)
    axis.set(xlabel=plane.names[0], xlim=limits[0])
    if plane.codes.shape[1] == 1:
        by_label = [plane.codes[plane.labels == digit, 0] for digit in range(10)]
        axis.hist(by_label, 60, range=limits[0], stacked=True, color=COLOURS)
        axis.set(ylabel="codes")
        return
    order = np.random.default_rng(0).permutation(len(plane.codes))  # else the last label would cover the others
    axis.scatter(*plane.codes[order].T, c=np.array(COLOURS)[plane.labels[order]], s=4, alpha=0.7, linewidths=0)
    style = {"path_effects": [withStroke(linewidth=3, foreground="white")], "weight": "bold", "fontsize": 14}
    for digit, place in places(plane, limits, star).items():
        axis.text(*place, digit, ha="center", va="center", **style)
    for place in star:
        axis.plot(*place, "*", color="black", markeredgecolor="white", markersize=22, zorder=4, clip_on=False)
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
        heights = values if one else plane.codes[:, 1]
        points = axis.scatter(plane.codes[:, 0], heights, c=values, s=4, linewidths=0, vmin=low, vmax=high)
        figure.colorbar(points, ax=axis, label=name, extend="both", shrink=0.8)
        axis.set(xlabel=plane.names[0], xlim=plane.limits[0], title=f"By {name.split()[0]}")
        if not one:
            axis.set(ylabel=plane.names[1], ylim=plane.limits[1], aspect="equal")
    return figure


def plane_figure(model, limits, about):
    """`plane.png`: what the decoder makes of the square of the scatter, 25 x 25 images."""
    c1, c2 = (low + (high - low) * (np.arange(MOSAIC) + 0.5) / MOSAIC for low, high in limits)
    pictures = decode(model, np.stack(np.meshgrid(c1, c2[::-1]), axis=-1).reshape(-1, 2))  # the highest c2 on top
    figure = Figure((7, 7))
    side = MOSAIC * 28 / 120 / 7  # a pixel is one at 120 dots an inch
    axis = figure.add_axes((0.11, 0.09, side, side), xlabel="$c_1$", ylabel="$c_2$")
    axis.imshow(make_grid(pictures.unsqueeze(1), MOSAIC, padding=0)[0].numpy(), **GREY, extent=np.ravel(limits))
    axis.set_title(f"What the decoder makes of the plane ({about})", fontsize="medium")
    return figure


def random_panel(axis, one):
    """64 pictures of a `Drawn`."""
    picture(axis, one.pictures, 8, title=balanced(one.words, 24), xlabel=random_caption(one).replace(", ", ",\n"))


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
        words = f"{one.share:.0%} around it are {one.digit}s\nnearest image: label {one.nearest}"
        picture(axis, one.picture[None], xlabel=words)
        axis.set_title(f"{one.digit} at ({one.code[0]:.3g}, {one.code[1]:.3g})", fontsize="medium")
    return figure


def code_figure(model, code, plane, about, caption=""):
    """`code.png`: a code of two numbers marked among those of images, beside what it decodes to."""
    words = ", ".join(f"{number:.3g}" for number in code)
    figure = sheet(10, 5.4, balanced(f"The code ({words}) ({about})", 100), caption)
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    low, high = np.transpose(plane.middle if inside(np.array([code]), plane.middle) else plane.limits)
    room = 0.05 * (high - low).max()
    grow = max(0, (low + room - code).max(), (code + room - high).max())  # a code far out is shown too, and whole
    scatter(left, plane, tuple(zip(low - grow, high + grow, strict=True)), star=[code])
    left.set_title(f"among those of {len(plane.codes):,} training images")
    picture(right, decode(model, [code]), title="decoded")
    return figure


def moments(kept, count):
    """At most `count` of the steps that were kept, the first and the last among them, few early ones."""
    at = np.linspace(0, 1, count) ** 0.6 * (len(kept) - 1)
    return [sorted(kept)[one] for one in np.unique(at.round().astype(int))]


def training_figure(name, loss_name, originals, kept, losses, test_loss, about):
    """`training.png`: eight test images as the model reconstructed them on the way, and the loss by step."""
    figure, steps = sheet(10, 4.8, f"Training of the {name} ({about})"), moments(kept, 8)
    left, right = figure.subplots(1, 2)
    picture(left, torch.cat([originals[:8].cpu(), *(kept[step][1] for step in steps)]), 8)
    rows = ["original", *(f"step {step:,}" for step in steps)]
    left.set_yticks(16 + 30 * np.arange(len(rows)), rows)
    left.set_title("Test images, reconstructed on the way")
    width = max(1, min(SMOOTHING, len(losses) // 20))
    smooth = np.convolve(losses.double().numpy(), np.full(width, 1 / width), mode="valid")
    right.semilogy(np.arange(width, len(losses) + 1), smooth, label=f"training, mean of {width} steps")
    right.axhline(test_loss, color="tab:red", linestyle="--", label=f"test, with averaged weights: {test_loss:#.4g}")
    right.set(xlabel="step", title=f"{loss_name[0].upper()}{loss_name[1:]}, logarithmic axis")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}" if smooth.max() < 10 * smooth.min() else "")
    right.grid(alpha=0.3, which="both")
    right.legend()
    return figure


def unfolding_figures(steps, means, codes, labels, loss_name, about):
    """`unfolding.png`, six moments of the plane, and `unfolding.gif`, all of them moving; of what `unfolding` gives."""
    titles = [f"step {step:,}, loss {loss:#.4g}" for step, loss in zip(steps, means, strict=True)]
    title = f"The plane unfolds: codes of {len(labels):,} test images\n{about}; training loss: {loss_name}"
    figure, chosen = sheet(10, 7.2, title), [steps.index(step) for step in moments(steps, 6)]
    for place, at in enumerate(chosen, 1):
        axis, limits = figure.add_subplot(2, 3, place), square(codes[at])
        scatter(axis, Plane(codes[at], labels, limits), limits, legend=at == chosen[-1])
        axis.set_title(titles[at])
    moving = Figure((5.6, 5.6), dpi=100)
    moving.suptitle(title, fontsize="medium")
    axis = moving.add_axes((0.15, 0.1, 0.74, 0.74))

    def show(at):
        axis.clear()
        axis.set_title(titles[at])
        around = square(np.concatenate(codes[max(0, at - 1) : at + 2]))  # so the frame follows calmly
        scatter(axis, Plane(codes[at], labels, around), around)

    return figure, FuncAnimation(moving, show, [*range(len(steps)), *[len(steps) - 1] * 8], interval=350)


def report(model, sample, train_set, test_set, losses, kept, name, loss_name, about):
    """What there is to say and to see of a trained model: sentences, and figures by file name.

    The sets are images `(N, 28, 28)` in [0, 1] and labels `(N,)`, the sample is for the scatter; `losses` are those of
    each training step, `kept` is that of `extras.checkpoint.Run`; the names are for the titles, as is `about`, the run.
    """
    (images, labels), (test_images, test_labels) = train_set, (test_set[0], test_set[1].cpu())
    with torch.no_grad():
        parts = {key: part.item() for key, part in model.losses(test_images.to(next(model.parameters()))).items()}
    loss, baseline = sum(parts.values()), model.baseline(test_images)
    figures = {"training.png": training_figure(name, loss_name, test_images, kept, losses, loss, about)}
    codes, test_codes = encode(model, images), encode(model, test_images)
    if not codes.isfinite().all():
        raise FloatingPointError("the codes became infinite or NaN; try a smaller --lr")
    mean, axes = principal_axes(images.flatten(1), codes.shape[1])
    linear, test_linear = ((some.flatten(1) - mean) @ axes for some in (images, test_images))
    linear_error = F.mse_loss(test_linear @ axes.T + mean, test_images.flatten(1)).item()
    pairs = (test_codes, codes), (test_linear.cpu().double(), linear.cpu().double())
    votes = [F.one_hot(labels.cpu()[nearest(*pair, NEIGHBOURS)[0]], 10).sum(dim=1) for pair in pairs]
    right = [(some.argmax(dim=1) == test_labels).double().mean().item() for some in votes]  # ties: the smaller digit
    errors = [F.mse_loss(reconstruct(model, some).to(some), some).item() for some in (images, test_images)]
    said = [*loss_sentences(loss_name, parts, baseline, errors, right[0], (codes.shape[1], linear_error, right[1]))]
    seen = [*observation(*observe(codes, test_codes, votes[0], train_set, test_set))]
    shown = encode(model, sample[0])
    where, (drawn, passing) = plane(shown, sample[1]), draw(model, shown, train_set, test_images)
    heard = [*random_sentences(drawn, passing)]
    if loss > 0.99 * baseline:
        seen, heard = ["Nothing was learned: the loss is no better than the mean image's."], []
        drawn = [one._replace(looks=math.nan) for one in drawn]
    figures["latent.png"] = latent_figure(where, slant_and_ink(sample[0]).numpy(), seen, about)
    figures["random.png"] = random_figure(drawn, heard[-2:], name, about)
    if codes.shape[1] != 2:
        return [*said, *seen, *heard, "plane, digits, digit4 and unfolding need codes of two numbers."], figures
    chosen = [choose(model, where, train_set, digit) for digit in range(10)]
    figures["plane.png"] = plane_figure(model, where.limits, about)
    figures["digits.png"] = digits_figure(chosen, about)
    figures["digit4.png"] = code_figure(model, chosen[4].code, where, about, chosen_sentence(chosen[4]))
    moving = unfolding(kept, losses, test_labels)
    figures["unfolding.png"], figures["unfolding.gif"] = unfolding_figures(*moving.values(), loss_name, about)
    return [*said, *seen, *heard, chosen_sentence(chosen[4])], figures


def compare(models, sample, train_set, test_images, about):
    """`unruly_or_tamed.png`: of models, a dict by name, the codes and random codes."""
    figure = sheet(10, 10, f"Two numbers for a digit, without and with a rule for where they lie\n({about})")
    for (top, bottom), (name, model) in zip(figure.subplots(2, len(models)).T, models.items(), strict=True):
        codes = encode(model, sample[0])
        where, ((first, *_), _) = plane(codes, sample[1]), draw(model, codes, train_set, test_images)
        scatter(top, where, where.limits)
        top.set_title(f"Codes of the {name}")
        random_panel(bottom, first)
        bottom.set_title(f"Random codes from {first.words}, decoded")
    return figure
