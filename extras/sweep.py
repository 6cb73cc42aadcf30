"""The model at many weights of the sparsity penalty: trained side by side, measured, told and pictured."""

import copy
import math
from collections import namedtuple

import torch
from matplotlib.figure import Figure
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from extras.nodes import A4, DRAWN, EXPLAINED, TWICE, examine, heat_map, page, shape, stands

# Of a model: the weight of its penalty, the mean activation rho that this asks for, mean squared error on training and
# test images, training error + weighted penalty, each node's mean activation, their mean, and the nodes, `nodes.Node`.
Row = namedtuple("Row", "weight rho error test_error loss means mean nodes")


def train(untrained, weights, train_dataloader, epochs, lr):
    """Trains copies of a model with Adam, one for each weight of the penalty, as one program: a step of one small model
    is mostly the cost of starting operations, which they share. Returns the copies, each with its `penalty_weight`;
    raises FloatingPointError where a loss is not finite."""

    def loss(parameters, images, weight):
        hidden, reconstruction = functional_call(untrained, parameters, images)
        return F.mse_loss(reconstruction, images) + weight * untrained.batched_sparsity_penalty(hidden)

    models = [copy.deepcopy(untrained) for _ in weights]
    parameters, _ = stack_module_state(models)
    side_by_side, factors = vmap(loss, in_dims=(0, None, 0)), torch.tensor(weights).to(next(untrained.parameters()))
    optimizer = torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    for epoch in range(1, epochs + 1):
        total = 0
        for images, _ in train_dataloader:
            losses = side_by_side(parameters, images, factors)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            total += losses.detach()
        means = (total / len(train_dataloader)).tolist()
        for weight, mean in zip(weights, means, strict=True):
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss became {mean} in epoch {epoch} at the weight {weight:g} of --sweep")
        print(f"Epoch: {epoch}/{epochs} - Train Loss: {min(means):.4f} to {max(means):.4f}", flush=True)
    for place, model in enumerate(models):
        model.penalty_weight = weights[place]
        model.load_state_dict({name: values[place] for name, values in parameters.items()})
    return models


@torch.no_grad()
def measure(models, images, labels, test_images):
    """A `Row` for each model."""
    flat, properties, rows = images.flatten(1), shape(images), []
    for model in models:
        errors = [F.mse_loss(model(some)[1], some).item() for some in (images, test_images)]
        loss = errors[0] + model.penalty_weight * model.batched_sparsity_penalty(model.encoder(flat)).item()
        nodes = examine(model, flat, labels, properties)
        means = [node.mean for node in nodes]
        rows.append(Row(model.penalty_weight, model.rho, *errors, loss, means, sum(means) / len(means), nodes))
    return rows


def alone(row):
    """How many of a model's nodes stand for a digit."""
    return sum(map(stands, row.nodes))


def landmarks(rows):
    """The rows of the smallest weight, the lowest test error, all nodes sparse for the first time (or None), the most
    nodes that stand for a digit, and the largest weight."""
    sparse = next((row for row in rows if max(row.means) <= TWICE * row.rho), None)
    return rows[0], min(rows, key=lambda row: row.test_error), sparse, max(rows, key=alone), rows[-1]


def findings(before, rows):
    """What the weights change, in at most four sentences; `before` is the untrained model's row."""
    least, best, sparse, most, largest = landmarks(rows)
    limit = f"all mean activations at most {TWICE * before.rho:g}, twice rho"
    text = f"The smallest weight with {limit}, is {sparse.weight:g}." if sparse else f"At no weight are {limit}."
    gain = f", {1 - best.test_error / least.test_error:.1%} below that at {least.weight:g}" if best is not least else ""
    stand = "At no weight does a node stand for a digit, over twice as active for it as for any other."
    if alone(most):
        stand = f"At most {alone(most)} of {len(most.nodes)} nodes stand for a digit, over twice as active for it as "
        stand += f"for any other: first at the weight {most.weight:g}. At {least.weight:g} it is {alone(least)}, "
        stand += f"untrained {alone(before)}."
    diverged = [f"{row.weight:g}" for row in rows if row.error >= before.error]
    return [
        text,
        f"The test images come back best at the weight {best.weight:g}: their squared error is {best.test_error:.4f}"
        f"{gain}. At {largest.weight:g} it is {largest.test_error:.4f}, before training {before.test_error:.4f}.",
        stand,
        *[f"Training diverged at {', '.join(diverged)}: the error is not below that before training."] * bool(diverged),
    ]


def report(rows, about):
    """What `--sweep` prints, a list of sentences; and its figures, a dict by file name, a PDF as a list of pages."""
    before, rows, said, title = rows[0], rows[1:], findings(rows[0], rows[1:]), f"The weight of the penalty: {about}"
    table = ["   weight   training error   test error   mean activation   penalty in loss   nodes for a digit"]
    for row in (before, *rows):
        name = "untrained" if row is before else f"{row.weight:g}"
        text = f"{name:>9}   {row.error:14.4f}   {row.test_error:10.4f}   {min(row.means):7.2f} to {max(row.means):.2f}"
        table.append(f"{text}   {1 - row.error / row.loss:16.2%}   {alone(row):8} of {len(row.nodes)}")
    words, figures, weights = page(title, *said), (Figure((13, 15)), Figure(A4)), [row.weight for row in rows]
    words.text(0.07, 0.72, "\n".join(table), va="top", fontsize=8, linespacing=1.7, family="monospace")
    chosen = [row for row in rows if any(row is one for one in landmarks(rows))][:4]
    for figure, size in zip(figures, (7.5, 4.7), strict=True):
        figure.suptitle(title, y=0.98, fontsize=2 * size)
        figure.text(0.5, 0.02, EXPLAINED, ha="center", fontsize=1.2 * size)
        error, mean = (figure.add_axes((x, 0.77, 0.39, 0.17), xlabel="weight of the penalty") for x in (0.08, 0.57))
        error.plot(weights, [row.loss for row in rows], "o-", label="squared error + weighted penalty, training images")
        error.plot(weights, [row.error for row in rows], "s-", label="squared error, training images")
        error.plot(weights, [row.test_error for row in rows], "^:", label="squared error, test images")
        mean.plot(weights, [row.mean for row in rows], "o-", label="mean activation, lowest to highest node")
        mean.fill_between(weights, *([end(row.means) for row in rows] for end in (min, max)), alpha=0.3)
        mean.axhline(before.rho, color="red", linestyle="--", label=f"rho = {before.rho:g}, what the penalty asks for")
        smallest = min(filter(None, weights), default=1)
        for axis in (error, mean):
            axis.axvline(before.weight, color="grey", linestyle=":", label="weight without --sweep")
            axis.set_xscale("symlog", linthresh=smallest)  # it has a place for 0
            axis.set_xlim(-smallest / 4, 1.5 * max(weights[-1], smallest))
            axis.legend(fontsize=1.2 * size)
        for place, row in enumerate(chosen):
            axis = figure.add_axes((0.07 + 0.49 * (place % 2), 0.4 - 0.35 * (place // 2), 0.42, 0.3))
            shown = dict(enumerate(row.nodes[:DRAWN]))
            heat_map(axis, shown, f"weight {row.weight:g}, error {row.test_error:.3f}", size)
    return [*table, *said], {"sparsity.png": figures[0], "sparsity.pdf": [figures[1], words]}
