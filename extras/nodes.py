"""What hidden nodes do: measures, their table, the pictures, the pages of codelet7.pdf.

Models are `codelet7.SparseAutoencoder`s and images normalised, all on the CPU.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F
from torchvision.utils import make_grid

from extras.measures import (
    count_by_digit,
    format_columns,
    format_row,
    mean_by_digit,
    share_explained,
)

A4 = (8.27, 11.69)  # inches
DRAWN = 10  # nodes that have room in a picture
STANDS_OUT = 2  # so many times as active for a digit as for any other is no chance
TOP = 100  # images at which a node is most or least active


# --- Measures ------------------------------------------------------------------------


@dataclass
class NodeMeasures:
    """What J hidden nodes do over N images."""

    mean: np.ndarray  # (J,) activation
    by_digit: np.ndarray  # (J, 10) mean activation at each digit's images
    explained: np.ndarray  # (J,) share of the activation's variance explained by digit
    painted: np.ndarray  # (J, 28, 28) what it adds to the painting: decoder weights
    most_active: torch.Tensor  # (J, 100) images by number, the most active first
    least_active: torch.Tensor  # (J, 100) the least active first
    most_digits: torch.Tensor  # (J, 10) how many of the most active are 0s, 1s, ...
    least_digits: torch.Tensor  # (J, 10)
    tenth_digits: torch.Tensor  # (J, 10) of the most active tenth of all images

    def __len__(self):
        return len(self.mean)

    def count_standing_for_a_digit(self):
        """How many nodes are over twice as active for a digit as for any other."""
        in_order = np.sort(self.by_digit, axis=1)
        return int((in_order[:, -1] > STANDS_OUT * in_order[:, -2]).sum())


@torch.no_grad()
def measure_nodes(model, images, labels):
    """`NodeMeasures` over images `(N, 1, 28, 28)` and their labels `(N,)`."""
    hidden = model.encoder(images.flatten(1))
    order = hidden.T.argsort(dim=1, descending=True)
    most_active = order[:, :TOP]
    least_active = order.flip(1)[:, :TOP]
    tenth = order[:, : max(TOP, len(images) // 10)]
    digits = F.one_hot(labels, 10).numpy()
    return NodeMeasures(
        mean=hidden.mean(dim=0).numpy(),
        by_digit=mean_by_digit(hidden, labels).T.numpy(),
        explained=share_explained(hidden.numpy(), digits),
        painted=model.decoder[0].weight.T.reshape(-1, 28, 28).numpy(),
        most_active=most_active,
        least_active=least_active,
        most_digits=torch.stack([count_by_digit(labels[top]) for top in most_active]),
        least_digits=torch.stack([count_by_digit(labels[low]) for low in least_active]),
        tenth_digits=torch.stack([count_by_digit(labels[top]) for top in tenth]),
    )


@dataclass
class ModelMeasures:
    """What all nodes of a model do together."""

    error: float  # mean squared error of the training images
    rounded_error: float  # the same with all activations rounded to 0 or 1
    test_error: float
    penalty_share: float  # of the loss of the training images
    low: float  # share of the activations below 0.1
    high: float  # share of the activations above 0.9
    recognised: float  # see `share_recognised`


@torch.no_grad()
def measure_model(model, images, labels, test_images, test_labels):
    """`ModelMeasures` over images `(N, 1, 28, 28)` and their labels `(N,)`."""
    hidden, reconstructions = model(images)
    test_hidden, test_reconstructions = model(test_images)
    rounded = model.decoder(hidden.round()).view_as(images)
    error = F.mse_loss(reconstructions, images).item()
    penalty = model.penalty_weight * model.batched_sparsity_penalty(hidden).item()
    return ModelMeasures(
        error=error,
        rounded_error=F.mse_loss(rounded, images).item(),
        test_error=F.mse_loss(test_reconstructions, test_images).item(),
        penalty_share=penalty / (error + penalty),
        low=(hidden < 0.1).double().mean().item(),
        high=(hidden > 0.9).double().mean().item(),
        recognised=share_recognised(hidden, labels, test_hidden, test_labels),
    )


def share_recognised(rows, labels, test_rows, test_labels):
    """The share of the test rows `(M, d)` that are nearer to the mean row of their own
    digit than to those of all others."""
    distances = torch.cdist(test_rows, mean_by_digit(rows, labels))
    return (distances.argmin(dim=1) == test_labels).double().mean().item()


# --- The table -----------------------------------------------------------------------


def format_losses(losses, published):
    """The first and the last losses, beside the `published`, a dict by epoch."""
    epochs = sorted({1, len(losses.train)})
    train = [f"{losses.train[epoch - 1]:.4f}" for epoch in epochs]
    test = [f"{losses.test[epoch - 1]:.4f}" for epoch in epochs]
    lines = [
        format_row("", *[f"epoch {epoch}" for epoch in epochs]),
        format_row("train loss", *train),
        format_row("test loss", *test),
    ]
    if published:
        theirs = [f"{published[epoch]:.4f}" for epoch in epochs]
        lines.append(format_row("published train loss", *theirs))
    return "\n".join(lines)


MODEL_ROWS = {  # the fields of `ModelMeasures`: their names, and how to write them
    "error": ("squared error, training images", ".4f"),
    "rounded_error": ("  with activations rounded to 0 or 1", ".4f"),
    "test_error": ("squared error, test images", ".4f"),
    "penalty_share": ("weighted penalty in the loss", ".2%"),
    "low": ("activations below 0.1", ".0%"),
    "high": ("activations above 0.9", ".0%"),
    "recognised": ("recognised by the nearest mean pattern", ".0%"),
}


def format_model(trained, untrained, recognised_pixels):
    """`ModelMeasures` of a model, trained and not, a line each; and which share of the
    images themselves is recognised in the same way."""
    lines = [format_row("", "trained", "untrained")]
    for field, (name, form) in MODEL_ROWS.items():
        after = format(getattr(trained, field), form)
        before = format(getattr(untrained, field), form)
        lines.append(format_row(name, after, before))
    lines.append(
        format_row("  the same with the raw pixels", f"{recognised_pixels:.0%}")
    )
    return "\n".join(lines)


def format_nodes(trained, untrained):
    """`NodeMeasures`, trained and not: how many stand for a digit, and each node."""
    count = len(trained)
    standing = [
        f"{nodes.count_standing_for_a_digit()} of {count}"
        for nodes in (trained, untrained)
    ]
    columns = {
        "node": range(count),
        "mean": [f"{mean:.2f}" for mean in trained.mean],
        "untrained": [f"{mean:.2f}" for mean in untrained.mean],
        "explained": [f"{share:.0%}" for share in trained.explained],
        "top 100": [commonest(digits) for digits in trained.most_digits],
        "top tenth": shares_in_tenth(trained),
        "last 100": [commonest(digits) for digits in trained.least_digits],
    }
    return "\n".join(
        [
            format_row("", "trained", "untrained"),
            format_row("nodes that stand for a digit", *standing),
            "",
            format_columns(columns),
            "",
            "mean: mean activation; explained: share of its variance told by the digit",
            "top 100, last 100: commonest digit of the most and least active images",
            "top tenth: share of the first of these in the most active tenth of all",
        ]
    )


def shares_in_tenth(nodes):
    """How large a share of the most active tenth of all images the commonest digit of
    the most active 100 is, for each node."""
    shares = nodes.tenth_digits / nodes.tenth_digits.sum(dim=1, keepdim=True)
    digits = nodes.most_digits.argmax(dim=1, keepdim=True)
    return [f"{share:.0%}" for share in shares.gather(1, digits)[:, 0].tolist()]


def commonest(counts):
    """`92 7s`, of the counts of the digits `(10,)`."""
    digit = counts.argmax().item()
    return f"{counts[digit]} {digit}s"


# --- Pictures ------------------------------------------------------------------------


def draw_heat_map(axis, nodes, title):
    """A row for each of the first nodes: what it paints, and its mean activations."""
    shown = range(min(len(nodes), DRAWN))
    axis.imshow(nodes.by_digit[:DRAWN], cmap="viridis", vmin=0, vmax=1)
    for node in shown:
        draw_painted(axis, nodes, node, extent=(-1.7, -0.7, node + 0.48, node - 0.48))
        for digit, mean in enumerate(nodes.by_digit[node]):
            colour = "black" if mean > 0.6 else "white"
            style = {"ha": "center", "va": "center", "fontsize": 7}
            axis.text(digit, node, f"{mean:.2f}", color=colour, **style)
    axis.set(xlim=(-1.8, 9.5), ylim=(len(shown) - 0.5, -0.5), title=title)
    axis.set_xticks([-1.2, *range(10)], ["paints", *[f"{d}s" for d in range(10)]])
    axis.set_yticks(shown, [f"node {node}" for node in shown])
    axis.tick_params(length=0, labelsize=7)
    axis.spines[:].set_visible(False)


def draw_painted(axis, nodes, node, extent=None):
    """What a node paints: white where it puts ink, black where it takes ink away."""
    most = np.abs(nodes.painted[node]).max()
    axis.imshow(nodes.painted[node], cmap="gray", vmin=-most, vmax=most, extent=extent)


def draw_losses(axis, losses, published):
    """The losses by epoch; `published` is a dict by epoch."""
    epochs = range(1, len(losses.train) + 1)
    axis.plot(epochs, losses.train, "o-", label="train loss")
    axis.plot(epochs, losses.test, "^:", label="test loss")
    if published:
        style = {"linestyle": "", "marker": "x", "color": "red", "markersize": 9}
        axis.plot(*zip(*published.items(), strict=True), **style, label="published")
    axis.set(xlabel="epoch", ylabel="loss: squared error + weighted penalty")
    axis.set_xticks(np.unique(np.linspace(1, len(epochs), 6).round()))
    axis.legend()


def draw_means(axis, trained, untrained, rho):
    """Each node's mean activation, before and after training."""
    axis.plot(trained.mean, "o", label="trained")
    axis.plot(untrained.mean, "o", label="untrained")
    axis.axhline(rho, color="red", linestyle="--", label=f"rho = {rho:g}, asked for")
    axis.set(xlabel="node", ylabel="mean activation", ylim=(-0.03, 1.03))
    axis.legend(ncols=3)


def draw_grid(axis, images, columns, title=""):
    """Images `(N, 1, 28, 28)`, `columns` a row."""
    grid = make_grid(images, columns, normalize=True, pad_value=0.13)
    axis.imshow(grid[0].numpy(), cmap="gray")
    axis.set_title(title, fontsize="medium")
    axis.axis("off")


def nodes_figure(trained, untrained):
    """`nodes.png`: the heat maps before and after training."""
    figure = Figure((13, 1.6 + 0.43 * min(len(trained), DRAWN)), layout="constrained")
    paints = "what it paints: white where it adds ink, black where it takes ink away"
    figure.suptitle(f"Mean activation of each hidden node by digit, and {paints}")
    left, right = figure.subplots(1, 2)
    draw_heat_map(left, untrained, "Before training")
    draw_heat_map(right, trained, "After training")
    return figure


def losses_figure(losses, published):
    """`loss.png`."""
    figure = Figure((7, 4.8), layout="constrained")
    figure.suptitle("Loss of the sparse autoencoder")
    draw_losses(figure.subplots(), losses, published)
    return figure


# --- The pages of codelet7.pdf -------------------------------------------------------


def read_answers():
    """The written answers by section, from answers.txt; a section starts with its name
    in square brackets on a line of its own."""
    answers = {}
    for line in Path(__file__).with_name("answers.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            answers[section] = ""
        else:
            answers[section] += line + "\n"
    return {section: text.strip("\n") for section, text in answers.items()}


@dataclass
class Record:
    """What the pages show of a run; images are normalised, `(N, 1, 28, 28)`."""

    table: str
    losses: object  # with the lists `train` and `test`
    published: dict  # train losses by epoch
    trained: NodeMeasures
    untrained: NodeMeasures
    rho: float
    images: torch.Tensor  # that the nodes were measured over
    pairs: torch.Tensor  # test images, each followed by its reconstruction


def analyse(untrained, model, losses, published, train_set, test_set):
    """The `Record` of a run: what is measured before and after training, over images
    `(N, 1, 28, 28)` and their labels `(N,)`."""
    before = measure_nodes(untrained, *train_set)
    after = measure_nodes(model, *train_set)
    images, labels = train_set
    test_images, test_labels = test_set
    pixels = images.flatten(1), labels, test_images.flatten(1), test_labels
    tables = [
        format_losses(losses, published),
        format_model(
            measure_model(model, *train_set, *test_set),
            measure_model(untrained, *train_set, *test_set),
            share_recognised(*pixels),
        ),
        format_nodes(after, before),
    ]
    with torch.no_grad():
        _, reconstructions = model(test_images[:64])
    pairs = torch.stack((test_images[:64], reconstructions), dim=1)
    return Record(
        table="\n\n".join(tables),
        losses=losses,
        published=published,
        trained=after,
        untrained=before,
        rho=model.rho,
        images=images,
        pairs=pairs.flatten(0, 1),
    )


def make_pages(record, answers):
    """The pages, figures: with the answers, a dict by section, or with the table."""
    nodes = [int(name.split()[1]) for name in answers if name.startswith("node ")]
    nodes = nodes or list(range(min(3, len(record.trained))))
    pages = [
        losses_page(record, answers),
        nodes_page(record, answers),
        chosen_nodes_page(record, answers, nodes),
        reconstructions_page(record, answers),
        top_images_page(record, answers, nodes[:2]),
    ]
    if not answers:
        pages.insert(0, table_page(record))
    return pages


def a4_page(title):
    figure = Figure(A4)
    figure.set_layout_engine("constrained", rect=(0.05, 0.03, 0.9, 0.94))
    figure.suptitle(title)
    return figure


def write(axis, text, **style):
    """Paragraphs, with an empty line between, from the top of an axis."""
    axis.axis("off")
    paragraphs = [textwrap.fill(paragraph, 96) for paragraph in text.split("\n\n")]
    style |= {"va": "top", "linespacing": 1.3}
    axis.text(0, 1, "\n\n".join(paragraphs), **style).set_in_layout(False)


def table_page(record):
    figure = a4_page("A sparse autoencoder: the numbers")
    axis = figure.subplots()
    axis.axis("off")
    where = "The written answers are for the default settings: extras/answers.txt."
    lines = [where, "", *record.table.splitlines()[:75]]
    axis.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=7.5)
    return figure


def losses_page(record, answers):
    figure = a4_page("A sparse autoencoder")
    places = [["losses"], ["curve"], ["sparse"], ["means"], ["note"]]
    axes = figure.subplot_mosaic(places, height_ratios=(2, 5, 4, 4, 1))
    write(axes["losses"], answers.get("losses", ""))
    draw_losses(axes["curve"], record.losses, record.published)
    write(axes["sparse"], answers.get("sparse", ""))
    draw_means(axes["means"], record.trained, record.untrained, record.rho)
    write(axes["note"], note_on(answers, record.table), fontsize="small")
    return figure


def note_on(answers, table):
    """Of which run the answers were written, and whether this is another."""
    if not answers:
        return ""
    note = "The answers were written for the run whose table is in extras/answers.txt."
    if answers["table"] == table:
        return note
    return note + "\n\nThe table of this run has other numbers: see report.txt."


def nodes_page(record, answers):
    figure = a4_page("What the nodes learned")
    places = [["words"], ["after"], ["before"]]
    axes = figure.subplot_mosaic(places, height_ratios=(5, 5, 5))
    write(axes["words"], answers.get("nodes", ""))
    draw_heat_map(axes["after"], record.trained, "Mean activation, after training")
    draw_heat_map(axes["before"], record.untrained, "Mean activation, before training")
    return figure


def chosen_nodes_page(record, answers, nodes):
    figure = a4_page("Nodes, each with the images that activate it most and least")
    places = []
    for node in nodes:
        places.append([f"{node} words", f"{node} words"])
        places.append([f"{node} paints", f"{node} images"])
    ratios = (2, 3) * len(nodes)
    axes = figure.subplot_mosaic(places, height_ratios=ratios, width_ratios=(1, 3.5))
    for node in nodes:
        write(axes[f"{node} words"], answers.get(f"node {node}", ""))
        draw_painted(axes[f"{node} paints"], record.trained, node)
        axes[f"{node} paints"].set_title(f"Node {node} paints", fontsize="medium")
        axes[f"{node} paints"].axis("off")
        most = record.images[record.trained.most_active[node, :10]]
        least = record.images[record.trained.least_active[node, :10]]
        title = "The ten images that activate it most, and the ten that do least"
        draw_grid(axes[f"{node} images"], torch.cat((most, least)), 10, title)
    return figure


def reconstructions_page(record, answers):
    figure = a4_page("Test images, each beside its reconstruction")
    axes = figure.subplot_mosaic([["words"], ["images"]], height_ratios=(1, 6))
    write(axes["words"], answers.get("reconstructions", ""))
    pictures = record.pairs.clamp(record.images.min(), 1)  # black and white of both
    draw_grid(axes["images"], pictures, 8)
    return figure


def top_images_page(record, answers, nodes):
    figure = a4_page(f"The {TOP} training images that activate a node most")
    places = [["words"], *[[f"{node}"] for node in nodes]]
    ratios = (1, *[4] * len(nodes))
    axes = figure.subplot_mosaic(places, height_ratios=ratios)
    write(axes["words"], answers.get("top images", ""))
    for node in nodes:
        images = record.images[record.trained.most_active[node]]
        title = f"Node {node}: {all_counts(record.trained.most_digits[node])}"
        draw_grid(axes[f"{node}"], images, 10, title)
    return figure


def all_counts(counts):
    """`92 7s, 8 9s`, of the counts of the digits `(10,)`, the commonest first."""
    digits = counts.argsort(descending=True)
    return ", ".join(f"{counts[digit]} {digit}s" for digit in digits if counts[digit])
