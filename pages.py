"""The pages of codelet7.pdf, A4 figures of what answers.py measures and says, and what the sweep's PDF shares."""

import sys
import textwrap

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

import utils
from answers import (
    FIRES,
    STRONG,
    activations,
    compare_copies,
    describe,
    examine,
    how_images_come_back,
    is_it_sparse,
    layers,
    reconstruction_error,
    traits,
    verdict,
    what_training_changed,
)
from utils import A4


def write(figure, text, top, left=0.07, characters=112, size=9):
    """Writes paragraphs on an A4 figure from the height `top` down; returns the height below them."""
    for paragraph in text:
        lines = textwrap.wrap(paragraph, characters)
        figure.text(left, top, "\n".join(lines), va="top", fontsize=size, linespacing=1.35)
        top -= 0.00176 * size * len(lines) + 0.008
    return top


def page(title):
    """An A4 page with a title."""
    figure = Figure(figsize=A4)
    figure.text(0.07, 0.96, title, fontsize=14, va="top")
    return figure


def plot_losses(axis, losses, source, published):
    """The train loss by epoch, with the `published` losses, a dict by epoch, marked."""
    axis.plot(range(1, len(losses) + 1), losses, "o-", color="tab:blue", label=f"this run, on {source}")
    if published:
        style = {"color": "tab:red", "markersize": 11, "markeredgewidth": 2}
        axis.plot(list(published), list(published.values()), "x", **style, label="published, on MNIST")
    for epoch, loss in published.items():
        above = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
        axis.annotate(f"{loss:.4f}", (epoch, loss), **above, color="tab:red")
    axis.set(xlabel="epoch", ylabel="train loss (mean over the batches)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.margins(0.1)
    axis.grid(alpha=0.3)
    axis.legend()


def loss_figure(title, losses, source, published):
    """`plot_losses` as a figure of its own."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    plot_losses(axis, losses, source, published)
    axis.set_title(title)
    return figure


def in_epochs(settings):
    """How long a run trains, for titles: 20 epochs."""
    return f"{settings.epochs} epoch{'s' if settings.epochs > 1 else ''}"


def cover(title, preparation, model, data, settings, losses, test_loss, published):
    """The first page: what was trained, and the losses, beside the `published` ones.

    Args:
        preparation: what was done to the images, in words.
        data, settings: as for `answer_pages`.
        losses: train loss of each epoch; `published` has those to compare them with, by epoch.
    """
    figure = page(title)
    facts = [
        ("Data", f"{data.source}: {len(data.images):,} training and {len(data.test_images):,} test images"),
        ("Preparation", preparation),
        ("Model", layers(model)),
        ("Loss", f"mean squared error + {settings.penalty_weight:g} x KL penalty with rho = {settings.rho:g}"),
        ("Training", f"{in_epochs(settings)} of Adam, learning rate {settings.lr:g}, seed {settings.seed}"),
    ]
    for epoch in sorted({1, len(losses)}):
        beside = f"   (published: {published[epoch]:.4f})" if epoch in published else ""
        facts.append((f"Train loss, epoch {epoch}", f"{losses[epoch - 1]:.4f}{beside}"))
    facts.append(("Test loss", f"{test_loss:.4f}"))
    for line, (name, value) in enumerate(facts):
        figure.text(0.07, 0.91 - 0.021 * line, name, va="top")
        figure.text(0.33, 0.91 - 0.021 * line, value, va="top")
    plot_losses(figure.add_axes((0.12, 0.08, 0.78, 0.4)), losses, data.source, published)
    return figure


def answer_pages(model, untrained, data, settings):
    """The pages that answer what was learned.

    Args:
        data: has the training `images` and `labels`, `test_images`, `test_labels` and their `source`.
        settings: those of the run, of which `verdict` and `is_it_sparse` speak.
    """
    images, labels = data.images, data.labels
    error, error_before = (reconstruction_error(one, images) for one in (model, untrained))
    mean_image = images.var(dim=0, correction=0).mean().item()
    warning = verdict(error, error_before, mean_image, settings.lr, settings.epochs)
    if warning:
        print(f"Warning: {warning}", file=sys.stderr)
    properties = traits(images, labels)
    nodes, before = (examine(one, images, labels, properties) for one in (model, untrained))
    penalty = settings.penalty_weight * model.batched_sparsity_penalty(activations(model, images)).item()
    sparse = is_it_sparse(nodes, before, settings.rho, settings.penalty_weight, penalty / (error + penalty))
    changed = what_training_changed(nodes, before)
    summary = [*([warning] if warning else []), f"Is it sparse? {sparse}", f"What was learned? {changed}"]
    copies = compare_copies(model, untrained, images, labels, data.test_images, data.test_labels)
    return [*node_pages(nodes, before, settings.rho, summary, data.source), copies_page(copies, data.source)]


def show_weights(axis, image):
    """Draws what a node adds: white where it puts ink, black where it takes ink away, grey for nothing."""
    largest = image.abs().max().item() or 1
    axis.imshow(image.numpy(), cmap="gray", vmin=-largest, vmax=largest, interpolation="none")
    axis.axis("off")


def node_pages(nodes, before, rho, summary, source):
    """A4 pages: `summary`, paragraphs, and the mean activations; then for each node what it adds, the digits of its
    top images, and sentences."""
    first = page(f"What the nodes learned, from {source}")
    write(
        first,
        [
            *summary,
            "How to read the next pages. Left: what a node adds to the picture when it goes from 0 to 1, the others at "
            "their mean: white where it puts ink, black where it takes ink away; for a decoder of one layer these are "
            "its weights. Middle: the digits among its top images, blue, and those of the same node before training, "
            f"outlined. Right: a node fires where its activation is above {FIRES}. Its digit is the one with which its "
            "activation correlates most, because a share of the top images says nothing of all the others, and because "
            "this also tells nodes apart that fire for nearly all images or none. Properties: slant, ink, width, "
            "height, the share of the ink in the upper and the left half, and each digit; the strongest three are "
            f"named, if their correlation is {STRONG} or more.",
        ],
        0.92,
    )
    bars = first.add_axes((0.1, 0.08, 0.83, 0.3))
    numbers = range(len(nodes))
    bars.bar(numbers, [node.mean for node in nodes], color="tab:blue", label="trained")
    bars.bar(numbers, [node.mean for node in before], color="none", edgecolor="black", label="untrained")
    bars.axhline(rho, color="tab:red", linestyle="--", label=f"rho = {rho:g}")
    bars.set(xlabel="node", ylabel="mean activation", ylim=(0, 1))
    bars.xaxis.get_major_locator().set_params(integer=True)
    bars.legend(ncols=3)
    figures = [first]
    for place, (node, old) in enumerate(zip(nodes, before, strict=True)):
        if place % 5 == 0:
            figures.append(page(f"Nodes {place} to {min(place + 5, len(nodes)) - 1}, from {source}"))
        bottom = 0.79 - 0.183 * (place % 5)
        show_weights(figures[-1].add_axes((0.05, bottom, 0.18, 0.18 * A4[0] / A4[1])), node.adds)
        bars = figures[-1].add_axes((0.27, bottom + 0.02, 0.17, 0.1))
        bars.bar(range(10), node.digits, color="tab:blue")
        bars.bar(range(10), old.digits, color="none", edgecolor="black", linewidth=0.8)
        bars.set(xticks=range(10), yticks=(0, sum(node.digits)), ylim=(0, sum(node.digits)))
        bars.tick_params(labelsize=7, length=2, pad=1)
        write(figures[-1], [describe(node, old)], bottom + 0.13, left=0.47, characters=70, size=8)
    return figures


def copies_page(copies, source):
    """An A4 page on how test images come back: sentences, the error by digit, what each digit looks like."""
    figure = page(f"How the test images come back, {source}")
    write(figure, [how_images_come_back(copies)], 0.92)
    bars = figure.add_axes((0.1, 0.46, 0.83, 0.22))
    for place, copy in enumerate(copies):
        bars.bar([digit + 0.16 * (place - 2) for digit in range(10)], copy.by_digit, 0.15, label=copy.name)
    bars.set(xticks=range(10), xlabel="digit", ylabel="mean squared error")
    bars.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, columnspacing=1)
    for left, copy in ((0.1, copies[-1]), (0.55, copies[0])):
        axis = figure.add_axes((left, 0.08, 0.38, 0.38 * A4[0] / A4[1]))
        axis.imshow(copy.returns, cmap="Blues", vmin=0, vmax=1)
        for digit, shares in enumerate(copy.returns):
            for other, share in enumerate(shares):
                if share >= 0.005:
                    color = "white" if share > 0.5 else "black"
                    axis.text(other, digit, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)
        axis.set(xticks=range(10), yticks=range(10), xlabel="most like the average", ylabel="digit")
        axis.set_title(f"{copy.name}, % of each digit", fontsize=9)
    return figure


def write_pdf(path, title, pages):
    """Writes figures as the pages of a PDF, and prints its path."""
    # Without the date of its making, the same run gives the same file.
    with utils.replacing(path) as part, PdfPages(part, metadata={"Title": title, "CreationDate": None}) as pdf:
        for figure in pages:
            pdf.savefig(figure)
    print(f"  {path}")
