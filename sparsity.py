"""What the weight of the sparsity penalty changes: `codelet7.py --sweep` trains, measures, tells and pictures it.

As in answers.py, what is shown and said is chosen by what was measured.
"""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch.func import functional_call, stack_module_state, vmap

from answers import TOP, activations, examine, most, percent, reconstruction_error, span
from pages import page, show_weights, write
from utils import A4

OWN = 0.9  # share of one digit among a node's top images, from which on the digit is the node's own


class SideBySide:
    """Takes images to the losses `(K,)` of K models, computed as one program: a step of one small model is mostly the
    cost of starting operations, which the K of them share.

    Args:
        modules: take images to a loss, and differ in nothing but the values of their parameters and buffers. They stay
            as they are until `unstack`.
    """

    def __init__(self, modules):
        self.modules = modules
        self.stacked, self.buffers = stack_module_state(modules)
        for name, parameter in modules[0].named_parameters():
            if not parameter.is_contiguous():  # it lies column by column, which stacking undid
                self.stacked[name].data = self.stacked[name].data.mT.contiguous().mT
        self.losses = vmap(lambda *state: functional_call(modules[0], state[:2], state[2:]), in_dims=(0, 0, None))

    def __call__(self, images):
        return self.losses(self.stacked, self.buffers, images)

    def parameters(self):
        return self.stacked.values()

    @torch.no_grad()
    def unstack(self):
        """Copies the trained parameters into the modules."""
        for place, module in enumerate(self.modules):
            for parameter, stacked in zip(module.parameters(), self.parameters(), strict=True):
                parameter.copy_(stacked[place])


class Row(NamedTuple):
    """What a model of a sweep came to."""

    weight: float  # of the penalty
    error: float  # mean squared error on the training images
    test_error: float  # and on the test images
    penalty: float  # on the training images, before it is weighted
    nodes: list  # of `answers.Node`

    @property
    def loss(self):
        return self.error + self.weight * self.penalty

    @property
    def share(self):
        """The weighted penalty's share of the loss."""
        return self.weight * self.penalty / self.loss

    @property
    def means(self):
        return [node.mean for node in self.nodes]

    @property
    def firing(self):
        """How many nodes fire in an image, on average."""
        return sum(node.fires for node in self.nodes)

    @property
    def digit(self):
        """The nodes' strongest correlation with a digit, on average."""
        return sum(node.with_digit for node in self.nodes) / len(self.nodes)

    @property
    def own_digits(self):
        """The digits that make up at least `OWN` of a node's top images, one for each node of which that holds."""
        return [most(node.digits) for node in self.nodes if max(node.digits) >= OWN * sum(node.digits)]


@torch.no_grad()
def measure(model, images, labels, properties, test_images):
    """The `Row` of a model; see `answers.examine`."""
    return Row(
        weight=float(f"{model.penalty_weight.item():.6g}"),  # float32 holds 1e-4 only nearly
        error=reconstruction_error(model, images),
        test_error=reconstruction_error(model, test_images),
        penalty=model.batched_sparsity_penalty(activations(model, images)).item(),
        nodes=examine(model, images, labels, properties),
    )


def first_sparse(rows, rho):
    """The first row whose nodes all have a mean activation of at most twice rho, or None."""
    return next((row for row in rows if max(row.means) <= 2 * rho), None)


def telling(rows, rho, assignment):
    """The rows to look at: pairs of a row and why, in the order of `rows`, which is that of the weights.

    Args:
        rho: the mean activation that was asked for.
        assignment: the assignment's weight.
    """
    best, sparse = min(rows, key=lambda row: row.error), first_sparse(rows, rho)
    reasons = {
        "no penalty": lambda row: row.weight == 0,
        "the assignment's": lambda row: row.weight == assignment,
        "lowest error": lambda row: row is best,
        "first within twice rho": lambda row: row is sparse,
    }
    chosen = [(row, " and ".join(why for why, holds in reasons.items() if holds(row))) for row in rows]
    return [(row, why) for row, why in chosen if why]


def table(rows, before):
    """The measurements as lines of text; `before` is the untrained model's `Row`."""
    lines = [
        "           squared error     mean activation   nodes   penalty,   top 100: one     nodes   strongest digit,",
        "   weight  training   test   lowest, highest  firing  % of loss  digit, best 3  >= 90 %  mean correlation",
    ]
    for row in (before, *rows):
        untrained = row is before
        shares = sorted((100 * max(node.digits) // sum(node.digits) for node in row.nodes), reverse=True)[:3]
        lines.append(
            f"{'untrained' if untrained else f'{row.weight:g}':>9}  {row.error:8.4f} {row.test_error:6.4f}   "
            f"{min(row.means):6.2f}, {max(row.means):7.2f}  {row.firing:6.1f}  "
            f"{'' if untrained else f'{100 * row.share:.2f}':>9}  {', '.join(map(str, shares)):>13}  "
            f"{len(row.own_digits):7}  {row.digit:16.2f}"
        )
    return lines


def findings(rows, before, rho, assignment):
    """What the sweep shows, a list of paragraphs; arguments as for `table` and `telling`."""
    diverged = [f"{row.weight:g} ({row.error:.4f})" for row in rows if row.error >= before.error]
    worse = f"Training diverged at the weight {', '.join(diverged)}: the mean squared error is not below that before "
    return [
        *([f"{worse}training, {before.error:.4f}; try a smaller --lr."] if diverged else []),
        *(_at_the_assignments(row, before, rho) for row in rows if row.weight == assignment),
        _sparse(rows, rho),
        _best(rows, before),
        _own_digits(rows, before),
    ]


def _at_the_assignments(row, before, rho):
    felt = "hardly a part" if row.share < 0.01 else "a part"
    return (
        f"At the assignment's weight of {row.weight:g} the penalty is {percent(row.share)} of the loss, {felt} of what "
        f"training lowers. The nodes' mean activations are {span(row.means)} (untrained {span(before.means)}), where "
        f"rho is {rho:g}, and {row.firing:.1f} of {len(row.nodes)} nodes fire in an image (untrained "
        f"{before.firing:.1f})."
    )


def _sparse(rows, rho):
    sparse = first_sparse(rows, rho)
    if sparse is None:
        lowest = min(max(row.means) for row in rows)
        return f"At no weight are all mean activations within twice rho, {2 * rho:g}; one is at least {lowest:.2f}."
    return (
        f"The first weight at which all mean activations are within twice rho, {2 * rho:g}, is {sparse.weight:g}: they "
        f"are {span(sparse.means)}, {sparse.firing:.1f} nodes fire in an image, and the penalty is "
        f"{percent(sparse.share)} of the loss."
    )


def _best(rows, before):
    best, sparsest = min(rows, key=lambda row: row.error), rows[-1]
    text = (
        f"The weight {best.weight:g} reconstructs best: its mean squared error is {best.error:.4f} on the training and "
        f"{best.test_error:.4f} on the test images (untrained {before.error:.4f} and {before.test_error:.4f})."
    )
    if best is not rows[0]:
        gain, test_gain = (1 - best.error / rows[0].error, 1 - best.test_error / rows[0].test_error)
        against = f"no penalty ({rows[0].error:.4f})" if rows[0].weight == 0 else f"the weight {rows[0].weight:g}"
        on_test = f"{percent(test_gain)} on the test images" if test_gain > 0 else "not on the test images"
        text += f" Against {against} that is {percent(gain)} less, {on_test}; another --seed may say otherwise."
    if best is not sparsest:
        more = percent(sparsest.error / best.error - 1)
        text += f" At the largest weight, {sparsest.weight:g}, it is {more} more: {sparsest.error:.4f}."
    return text


def _own_digits(rows, before):
    count = len(before.nodes)
    first = next((row for row in rows if 2 * len(row.own_digits) > count), None)
    most_own, strongest = max(rows, key=lambda row: len(row.own_digits)), max(rows, key=lambda row: row.digit)
    row = first or most_own
    digits = f"{len(set(row.own_digits))} different digit{'s' if len(set(row.own_digits)) != 1 else ''}"
    found = f"{len(row.own_digits)} of {count} nodes, for {digits} (untrained: {len(before.own_digits)})"
    what = f"a digit of its own, one that makes up at least {percent(OWN)} of its top {TOP} images"
    return (
        f"The first weight at which a majority of the nodes has {what}, is {row.weight:g}: {found}."
        if first
        else f"At no weight has a majority of the nodes {what}; the most is {found}, at {row.weight:g}."
    ) + (
        f" Over all images, activations go most with a digit at the weight {strongest.weight:g}: the strongest "
        f"correlation with one is {strongest.digit:.2f} on average (untrained {before.digit:.2f}, at the "
        f"weight {rows[0].weight:g} {rows[0].digit:.2f})."
    )


def draw_sparsity(figure, rows, rho, assignment, title):
    """Fills a figure: loss and mean activation by weight; below, for each of the `telling` weights, what its first ten
    nodes add to a picture, with the most frequent digit of their top images and its share."""
    chosen = telling(rows, rho, assignment)
    weights = [row.weight for row in rows]
    figure.text(0.5, 0.975, title, fontsize=12, ha="center", va="center")
    curves, images = figure.add_gridspec(
        2, 1, height_ratios=(3, 1.6 * len(chosen)), left=0.09, right=0.97, top=0.94, bottom=0.01, hspace=0.25
    )
    loss, mean = curves.subgridspec(1, 2, wspace=0.2).subplots(sharex=True)
    for values, style, label in (
        ([row.loss for row in rows], "o-", "loss, training images"),
        ([row.error for row in rows], "s-", "squared error, training images"),
        ([row.test_error for row in rows], "^:", "squared error, test images"),
    ):
        loss.plot(weights, values, style, markersize=4, label=label)
    band = [min(row.means) for row in rows], [max(row.means) for row in rows]
    mean.fill_between(weights, *band, alpha=0.3, label="lowest to highest node")
    mean.plot(weights, [sum(row.means) / len(row.means) for row in rows], "o-", markersize=4, label="mean of all nodes")
    mean.axhline(rho, color="tab:red", linestyle="--", label=f"rho = {rho:g}")
    mean.set_ylim(0, None)
    loss.set_ylabel("mean over the pixels")
    mean.set_ylabel("mean activation")
    smallest = min((weight for weight in weights if weight), default=1)
    for axis in (loss, mean):
        # A logarithmic axis has no place for 0: below the smallest weight it is linear.
        axis.set_xscale("symlog", linthresh=smallest)
        axis.set_xlim(-0.2 * smallest, 1.5 * max(weights[-1], smallest))
        axis.set_xlabel("weight of the penalty")
        if min(weights) <= assignment <= max(weights):
            axis.axvline(assignment, color="grey", linestyle=":", label="the assignment's weight")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for strip, (row, why) in zip(images.subgridspec(len(chosen), 1, hspace=0.2), chosen, strict=True):
        nodes = row.nodes[:10]
        cells = strip.subgridspec(1, len(nodes), wspace=0.06).subplots(squeeze=False)[0]
        for cell, node in zip(cells, nodes, strict=True):
            show_weights(cell, node.adds)
            cell.set_title(f"{most(node.digits)}: {percent(max(node.digits) / sum(node.digits))}", fontsize=9, pad=3)
        label = f"weight {row.weight:g}, {why}: squared error {row.error:.4f}, mean activations {span(row.means)}"
        above = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 8.5, "weight": "bold"}
        cells[0].annotate(label, (0, 1), (0, 17), **above)
    return figure


def sparsity_pages(before, rows, rho, assignment, title):
    """The same on A4: the picture, then the table with the findings."""
    picture = draw_sparsity(Figure(figsize=A4), rows, rho, assignment, title)
    words = page("The same in numbers and in words")
    lines = table(rows, before)
    words.text(0.07, 0.92, "\n".join(lines), va="top", fontsize=7.6, linespacing=1.6, family="monospace")
    note = (
        "Strongest digit: the correlation of a node's activation with the digit that it goes with most, averaged over "
        "the nodes. Below the curves of the picture: what a node adds when it is on (for a decoder of one layer, its "
        f"weights), the most frequent digit among its top {TOP} images, and its share."
    )
    write(words, [*findings(rows, before, rho, assignment), note], 0.9 - 0.0155 * len(lines))
    return [picture, words]
