"""The plane of codes: what lies where in it, and what the decoder makes of its places.

A model is seen through its methods alone: `model(images)`, `model.decoder(codes)`, `model.losses(images)`, and
`model.spread`, which says how numbers in (0, 1) become codes.
"""

import contextlib
from typing import NamedTuple

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch.nn import functional as F
from torchvision.utils import make_grid

import utils
from utils import GREY, UserError, show

PLOTTED = 10_000  # training images whose codes are plotted
BLOCK = 10_000  # images that pass through a model at a time, which bounds the memory
NEIGHBOURS = 10  # training codes that vote on a test code
CELLS = 60  # a side of the grid in which codes are counted
MOSAIC = 25  # images on a side of the mosaic
# Ten colours that a colour-blind reader can tell apart as far as ten can be (Petroff 2021, arXiv:2107.02270)
COLOURS = matplotlib.style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]
ON_COLOURS = {"fontweight": "bold", "path_effects": [withStroke(linewidth=3, foreground="white")]}  # of a text
STAR = {"marker": "*", "color": "black", "markeredgecolor": "white"}


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


def measurements(model, images, labels, test_images, test_labels):
    """What a run prints of its model, in lines; images `(N, 28, 28)` and labels `(N,)` of the two sets."""
    error, test_error = reconstruction_error(model, images), reconstruction_error(model, test_images)
    codes, test_codes = encode(model, images), encode(model, test_images)
    share = neighbour_share(codes, labels, test_codes, test_labels)
    (std1, std2), farthest = codes.std(dim=0), (codes - codes.mean(dim=0)).norm(dim=1).max()
    return [
        f"mean squared error: {error:.4f} training, {test_error:.4f} test",
        f"test images that their {NEIGHBOURS} nearest training codes label rightly: {share:.1%}",
        f"standard deviation of the codes: {std1:.2f}, {std2:.2f}; farthest from their mean: {farthest:.2f}",
    ]


def square(codes):
    """The square of the plane that holds most of the codes `(N, 2)`: (low, high) of c1 and of c2, both of one length.

    It spans the 2 % to 98 % quantiles of the wider direction, and so leaves out what lies far out.
    """
    low, high = np.quantile(codes, (0.02, 0.98), axis=0)
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

    def best_code(self, label):
        """The code in the middle of the most images of `label`, each place's count taken times the fourth power of
        their share among all images there: where they are many, and nearly alone."""
        own, c1, c2 = self.count([label])
        share = own / np.maximum(self.count(range(10))[0], 1)
        at1, at2 = np.unravel_index((own * share**4).argmax(), own.shape)
        return float(c1[at1]), float(c2[at2])


# --- Pictures --------------------------------------------------------------------------------


def draw_scatter(axis, plane, size=4):
    """The codes in the (c1, c2)-plane, coloured by label, each label's number at the centre of its densest spot."""
    order = np.random.default_rng(0).permutation(len(plane.codes))  # else the last label would cover the others
    axis.scatter(*plane.codes[order].T, c=np.array(COLOURS)[plane.labels[order]], s=size, alpha=0.6, linewidths=0)
    taken = np.zeros((CELLS, CELLS), bool)  # cells too close to a number that is already there
    for label in range(10):
        counts, c1, c2 = plane.count([label])
        at1, at2 = np.unravel_index(np.where(taken, -1, counts).argmax(), counts.shape)
        taken[max(0, at1 - 2) : at1 + 3, max(0, at2 - 2) : at2 + 3] = True
        axis.text(c1[at1], c2[at2], str(label), fontsize=15, ha="center", va="center", **ON_COLOURS)
    axis.set(xlim=plane.limits[0], ylim=plane.limits[1], xlabel="$c_1$", ylabel="$c_2$", aspect="equal")


def square_figure(title):
    """A figure with one square axes, always in the same place: two such pictures can be laid over each other."""
    figure = Figure(figsize=(8.4, 8), dpi=200)
    axis = figure.add_axes((0.7 / 8.4, 0.5 / 8, 7 / 8.4, 7 / 8))  # 7 inches: 25 images of 28 pixels fit exactly
    axis.set_title(title)
    return figure, axis


def save_latent(plane, path):
    """`latent.png`: where the digits lie."""
    low, high = np.transpose(plane.limits)
    outside = ((plane.codes < low) | (plane.codes > high)).any(axis=1).mean()
    figure, axis = square_figure(
        f"Codes of {len(plane.codes):,} training images ({plane.source}); {outside:.1%} lie outside"
    )
    draw_scatter(axis, plane)
    marks = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=label) for label, colour in enumerate(COLOURS)
    ]
    axis.legend(handles=marks, title="label", loc="upper left", bbox_to_anchor=(1, 1))
    utils.save(figure, path)


def save_plane(plane, path):
    """`plane.png`: what the decoder makes of the plane, 25 x 25 images, as the model spreads codes.

    Where that is evenly over the part that `latent.png` shows, the two can be laid over each other.
    """
    middles = np.repeat((np.arange(MOSAIC)[:, None] + 0.5) / MOSAIC, 2, axis=1)
    c1, c2 = plane.model.spread(middles, plane.limits).T
    codes = np.stack(np.meshgrid(c1, c2[::-1]), axis=-1).reshape(-1, 2)  # the top row is the highest c2
    mosaic = make_grid(decode(plane.model, codes).unsqueeze(1), nrow=MOSAIC, padding=0)[0].numpy()
    figure, axis = square_figure(f"What the decoder makes of codes {plane.model.SPREAD} ({plane.source})")
    if np.allclose(np.diff(c1), c1[1] - c1[0]):
        axis.imshow(mosaic, **GREY, extent=np.ravel(plane.limits))
    else:
        axis.imshow(mosaic, **GREY, extent=(0, MOSAIC, 0, MOSAIC))
        ticks = np.arange(0, MOSAIC, 4)
        axis.set_xticks(ticks + 0.5, [f"{code:.2f}" for code in c1[ticks]])
        axis.set_yticks(ticks + 0.5, [f"{code:.2f}" for code in c2[ticks]])
    axis.set(xlabel="$c_1$", ylabel="$c_2$")
    utils.save(figure, path)


def random_grid(plane):
    """64 random codes, spread as the model says, decoded, 8 x 8."""
    codes = plane.model.spread(np.random.default_rng(0).random((64, 2)), plane.limits)
    return make_grid(decode(plane.model, codes).unsqueeze(1), nrow=8)


def save_random(plane, path):
    """`random.png`: what the decoder makes of random codes."""
    show(random_grid(plane), path, title=f"64 random codes, {plane.model.SPREAD},\ndecoded ({plane.source})")


def save_comparison(planes, path):
    """`unruly_or_tamed.png`: for each model the scatter of its codes above 64 random codes, decoded."""
    figure = Figure(figsize=(11, 11.6), dpi=120, layout="constrained")
    figure.suptitle("Two numbers for a digit, without and with a rule for where they lie", fontsize="x-large")
    for (upper, lower), plane in zip(figure.subplots(2, len(planes)).T, planes, strict=True):
        draw_scatter(upper, plane, size=2)
        upper.set_title(f"Codes of the {plane.model.NAME}\n({plane.source})")
        lower.imshow(random_grid(plane)[0].numpy(), **GREY)
        lower.set_title(f"64 random codes, {plane.model.SPREAD}, decoded")
        lower.axis("off")
    utils.save(figure, path)


def save_code(plane, code, path, chosen=""):
    """A code marked on the scatter, beside the image that the decoder makes of it."""
    figure = Figure(figsize=(9, 4.9), dpi=150)
    left, right = figure.add_axes((0.08, 0.11, 0.43, 0.79)), figure.add_axes((0.56, 0.11, 0.43, 0.79))
    draw_scatter(left, plane, size=2)
    left.plot(*code, **STAR, markersize=22)
    left.set(title=f"Codes of {len(plane.codes):,} training images ({plane.source})")
    (low1, high1), (low2, high2) = plane.limits
    grow = max(0, low1 - code[0], code[0] - high1, low2 - code[1], code[1] - high2)  # a code far out is shown too
    left.set(xlim=(low1 - grow, high1 + grow), ylim=(low2 - grow, high2 + grow))
    right.imshow(decode(plane.model, [code])[0].numpy(), **GREY)
    right.set_title(f"{chosen}code ({code[0]:.2f}, {code[1]:.2f}), decoded")
    right.axis("off")
    utils.save(figure, path)


def wire_explorer(figure, plane):
    """Fills a figure on an interactive canvas: left the scatter, right the image that the decoder makes of the code
    under the mouse; a click pins it and writes its code."""
    left, right = figure.subplots(1, 2)
    draw_scatter(left, plane, size=3)
    left.set_title(f"Codes ({plane.source}): move the mouse over them, click to pin one")
    right.set_title(f"What the decoder of the {plane.model.NAME} makes of the code")
    right.axis("off")
    picture = right.imshow(np.zeros((28, 28)), **GREY, animated=True)
    caption = right.text(0.5, 0.97, "", color="white", ha="center", va="top", transform=right.transAxes, animated=True)
    canvas, background = figure.canvas, None

    def draw_moving():
        right.draw_artist(picture)
        right.draw_artist(caption)

    def on_draw(event):  # all that does not move is drawn once, and kept
        nonlocal background
        background = canvas.copy_from_bbox(right.bbox)
        draw_moving()

    def on_move(event):
        if event.inaxes is left and background is not None:
            picture.set_data(decode(plane.model, [(event.xdata, event.ydata)])[0].numpy())
            caption.set_text(f"({event.xdata:.2f}, {event.ydata:.2f})")
            canvas.restore_region(background)
            draw_moving()
            canvas.blit(right.bbox)

    def on_click(event):
        if event.inaxes is left and not canvas.widgetlock.locked():  # locked: the toolbar zooms or pans
            on_move(event)
            left.plot(event.xdata, event.ydata, **STAR, markersize=16)
            left.annotate(
                caption.get_text(),
                (event.xdata, event.ydata),
                xytext=(8, 8),
                textcoords="offset points",
                **ON_COLOURS,
            )
            print(f"code {caption.get_text()}")
            canvas.draw_idle()

    for name, react in (("draw_event", on_draw), ("motion_notify_event", on_move), ("button_press_event", on_click)):
        canvas.mpl_connect(name, react)


def explore(plane):
    """Opens `wire_explorer` in a window or, with an interactive backend, in a notebook.

    Raises:
        UserError: there is no display.
    """
    from matplotlib import pyplot

    if pyplot.get_backend().lower() == "agg":
        raise UserError(
            "--explore opens a window, and there is no display here; --code C1 C2 decodes a code into a file"
        )
    wire_explorer(pyplot.figure(figsize=(12, 6.2), layout="constrained"), plane)
    pyplot.show()
