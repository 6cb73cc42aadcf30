"""The model at many weights of the sparsity penalty: trained side by side, measured,
tabled and pictured."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from extras.nodes import NodeMeasures, draw_heat_map, measure_nodes

PICTURED = 4  # weights whose nodes are shown


def train(untrained, weights, train_dataloader, epochs, lr):
    """Trains copies of a model with Adam, one for each weight of the penalty.

    They are one program: a step of one small model is mostly the cost of starting
    operations, which they share.

    Returns:
        The copies, each with its `penalty_weight`.

    Raises:
        FloatingPointError: a loss became infinite or NaN.
    """

    def loss_of_one(parameters, images, weight):
        hidden, reconstruction = functional_call(untrained, parameters, images)
        penalty = untrained.batched_sparsity_penalty(hidden)
        return F.mse_loss(reconstruction, images) + weight * penalty

    models = [copy.deepcopy(untrained) for _ in weights]
    parameters, _ = stack_module_state(models)
    loss_of_each = vmap(loss_of_one, in_dims=(0, None, 0))
    penalty_weights = torch.tensor(weights).to(next(untrained.parameters()))
    optimizer = torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    for epoch in range(1, epochs + 1):
        total = 0
        for images, _ in train_dataloader:
            losses = loss_of_each(parameters, images, penalty_weights)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            total += losses.detach()
        means = (total / len(train_dataloader)).tolist()
        check_losses(means, weights, epoch)
        span = f"{min(means):.4f} to {max(means):.4f}"
        print(f"Epoch: {epoch}/{epochs} - Train Loss: {span}", flush=True)
    for place, model in enumerate(models):
        model.penalty_weight = weights[place]
        state = {name: values[place] for name, values in parameters.items()}
        model.load_state_dict(state)
    return models


def check_losses(losses, weights, epoch):
    for loss, weight in zip(losses, weights, strict=True):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {epoch} at the weight {weight:g} of "
                "--sweep"
            )


@dataclass
class SweepRow:
    """What a model learned with a weight of the penalty."""

    weight: float
    rho: float  # the mean activation that the penalty asks for
    error: float  # mean squared error of the training images
    test_error: float
    penalty: float  # weighted, of all training images
    nodes: NodeMeasures

    @property
    def loss(self):
        return self.error + self.penalty


@torch.no_grad()
def measure(model, images, labels, test_images):
    """The `SweepRow` of a model, over images `(N, 1, 28, 28)`."""
    hidden, reconstructions = model(images)
    _, test_reconstructions = model(test_images)
    penalty = model.penalty_weight * model.batched_sparsity_penalty(hidden)
    return SweepRow(
        weight=model.penalty_weight,
        rho=model.rho,
        error=F.mse_loss(reconstructions, images).item(),
        test_error=F.mse_loss(test_reconstructions, test_images).item(),
        penalty=penalty.item(),
        nodes=measure_nodes(model, images, labels),
    )


def format_table(untrained, rows):
    """A line for each weight, after one of the model before training."""
    lines = [
        "   weight   training error   test error   mean activation"
        "   penalty in loss   nodes for a digit"
    ]
    for row in (untrained, *rows):
        name = "untrained" if row is untrained else f"{row.weight:g}"
        means = row.nodes.mean
        lines.append(
            f"{name:>9}"
            f"{row.error:17.4f}"
            f"{row.test_error:13.4f}"
            f"{means.min():10.2f} to {means.max():.2f}"
            f"{row.penalty / row.loss:18.2%}"
            f"{row.nodes.count_standing_for_a_digit():12} of {len(means)}"
        )
    return "\n".join(lines)


def draw_errors(axis, rows):
    """Loss and errors by the weight of the penalty."""
    weights = [row.weight for row in rows]
    losses = [row.loss for row in rows]
    axis.plot(weights, losses, "o-", label="error + weighted penalty, training images")
    errors = [row.error for row in rows]
    axis.plot(weights, errors, "s-", label="squared error, training images")
    test_errors = [row.test_error for row in rows]
    axis.plot(weights, test_errors, "^:", label="squared error, test images")
    axis.set_title("Loss and squared error")


def draw_activations(axis, rows):
    """The nodes' mean activations by the weight of the penalty."""
    weights = [row.weight for row in rows]
    means = [row.nodes.mean.mean() for row in rows]
    axis.plot(weights, means, "o-", label="mean activation of all nodes")
    lowest = [row.nodes.mean.min() for row in rows]
    highest = [row.nodes.mean.max() for row in rows]
    axis.fill_between(weights, lowest, highest, alpha=0.3, label="lowest to highest")
    rho = rows[0].rho
    axis.axhline(rho, color="red", linestyle="--", label=f"rho = {rho:g}, asked for")
    axis.set_title("Mean activation of the nodes")


def sweep_figure(rows, usual_weight):
    """`sparsity.png`: both curves, and the nodes at four weights evenly spread over the
    list of weights. `usual_weight` is that without --sweep."""
    chosen = np.linspace(0, len(rows) - 1, PICTURED).round().astype(int)
    shown = [rows[place] for place in sorted(set(chosen.tolist()))]
    figure = Figure((13, 15), layout="constrained")
    figure.suptitle("Many weights of the sparsity penalty")
    axes = figure.subplot_mosaic(
        [["errors", "means"], ["0", "1"], ["2", "3"]], height_ratios=(3, 4, 4)
    )
    draw_errors(axes["errors"], rows)
    draw_activations(axes["means"], rows)
    smallest = min([row.weight for row in rows if row.weight > 0], default=1)
    for axis in (axes["errors"], axes["means"]):
        axis.axvline(usual_weight, color="grey", linestyle=":", label="default weight")
        axis.set_xscale("symlog", linthresh=smallest)  # it has a place for 0
        axis.set_xlim(-smallest / 4, 1.5 * max(rows[-1].weight, smallest))
        axis.set_xlabel("weight of the penalty")
        axis.legend()
    for place in range(PICTURED):
        if place < len(shown):
            title = f"Weight {shown[place].weight:g}: mean activation by digit"
            draw_heat_map(axes[str(place)], shown[place].nodes, title)
        else:
            axes[str(place)].axis("off")
    return figure
