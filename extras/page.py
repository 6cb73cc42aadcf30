"""Puts a trained model on `explore.html`: one page, without a network, to explore the models in any browser."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

TEMPLATE = Path(__file__).with_name("page.html")
DATA = '<script type="application/json" id="run">{}</script>'  # the block of the page that holds its data
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.Tanh, nn.Sigmoid)


@torch.no_grad()
def describe(module):
    """A network as the page's interpreter reads it: a list of layers, each a dict.

    The weights of an `nn.Linear` are rounded to 16 bits: that changes the pixels of a trained model by less than a
    tenth of a grey level (8 bits: by up to 15).

    Args:
        module: an `nn.Linear`, `nn.LayerNorm` or one of `ACTIVATIONS`; an `nn.Sequential` of such; a module named
            `Residual`, whose children give what it adds to its input; `nn.Flatten`, `nn.Unflatten` are left out.

    Raises:
        ValueError: another kind of module.
    """
    kind = type(module).__name__
    if kind == "Residual":
        return [{"type": kind, "layers": describe(nn.Sequential(*module.children()))}]
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in describe(child)]
    if isinstance(module, (nn.Flatten, nn.Unflatten)):
        return []
    if isinstance(module, nn.Linear):
        weight, scale = to_int16(module.weight, dim=1)
        return [
            {
                "type": kind,
                "weight": weight,
                "scale": scale,
                "bias": module.bias.float(),
            }
        ]
    if isinstance(module, nn.LayerNorm):
        return [
            {
                "type": kind,
                "weight": module.weight.float(),
                "bias": module.bias.float(),
                "eps": module.eps,
            }
        ]
    if isinstance(module, ACTIVATIONS):
        return [{"type": kind}]
    raise ValueError(
        f"the page cannot compute {module}, only Linear, LayerNorm, Residual, ReLU, SiLU, Tanh, Sigmoid"
    )


def to_int16(values, dim):
    """Whole numbers of 16 bits, and the float32 scales that they are to be taken times, one along `dim`."""
    scale = (
        values.abs().amax(dim=dim, keepdim=True).clamp(min=1e-30)
        / torch.iinfo(torch.int16).max
    )
    return (values / scale).round().short(), scale.float()


def plane_entry(model, plane, unfolding, random, facts, spread=""):
    """What the page gets of a dense or variational autoencoder.

    Args:
        model: with `decoder`, and `encoder`, whose last layer has 2 outputs, or 4 where it gives mu and logvar.
        plane: the dots, an `extras.latent.Plane`: `codes` `(N, 2)`, `labels` `(N,)`, and the squares to be seen.
        unfolding: codes at T moments of the training: a dict of the `steps`, T ints, the `losses`, T floats, the
            `codes`, `(T, K, 2)`, and the `labels`, `(K,)`.
        random, spread, facts: codes `(M, 2)` to take one of; in words how they and the model came about.

    Raises:
        ValueError: see `describe`.
    """
    unfolding = vars(unfolding).copy()
    unfolding.pop("pictures")
    random = plane.codes[:100]
    codes, scale = to_int16(torch.as_tensor(unfolding["codes"]).float(), dim=(1, 2))
    return {
        "encoder": (encoder := describe(model.encoder)),
        "decoder": describe(model.decoder),
        "posterior": len(encoder[-1]["bias"])
        > 2,  # whether the encoder gives logvar, too
        "codes": plane.codes.astype(np.float32),
        "labels": plane.labels.astype(np.uint8),
        "views": [plane.limits, plane.middle],
        "unfolding": {
            **unfolding,
            "codes": codes,
            "scale": scale,
            "labels": unfolding["labels"].astype(np.uint8),
        },
        "random": torch.as_tensor(random).float(),
        "spread": spread,
        "facts": facts,
    }


def sparse_entry(model, mean, std, facts):
    """What the page gets of a sparse autoencoder whose pixels are normalised with `mean` and `std`: two layers more,
    from pixels in [0, 1] and back to them. `facts` say in words how it was trained. Raises as `describe` does."""
    return {
        "encoder": [
            {"type": "Affine", "times": 1 / std, "plus": -mean / std},
            *describe(model.encoder),
        ],
        "decoder": [
            *describe(model.decoder),
            {"type": "Affine", "times": std, "plus": mean},
        ],
        "white": mean + std,  # the lightest grey that a Tanh can give
        "facts": facts,
    }


def sweep_entry(models, weights, errors, means, mean, std):
    """What the page gets of K sparse autoencoders, trained with K weights of the penalty, sorted; `errors` are their
    mean squared test errors, `means` their mean activations over all nodes."""
    entries = [sparse_entry(model, mean, std, "") for model in models]
    return {
        "models": entries,
        "weights": list(weights),
        "errors": list(errors),
        "means": list(means),
    }


def as_json(array):
    """An array or a tensor as the page reads it, for `json.dumps`."""
    array = np.ascontiguousarray(
        array.detach().cpu() if isinstance(array, torch.Tensor) else array
    )
    return {"dtype": array.dtype.name, "base64": base64.b64encode(array).decode()}


def put(page, key, entry, samples, mean_image, drawn=False, colours=()):
    """The text of the page with the entry of the model `key` replaced, and those of all other models kept.

    Args:
        page: text of the page that is there, of which the data are kept; None, or a text without such data, for none.
        key, entry: "autoencoder", "variational", "sparse" or "sweep", and a dict as the functions above give it.
        samples, mean_image: uint8, a test image of each digit `(10, 28, 28)`, and the mean of all `(28, 28)`.
        drawn: whether a program drew the digits.
        colours: of the ten digits, such as "#3f90da".

    Raises:
        ValueError: a loss or an error is infinite or NaN.
    """
    try:
        kept = dict(
            json.loads(re.search(DATA.format("(.*?)"), page, re.DOTALL)[1])["models"]
        )
    except (TypeError, ValueError, KeyError):  # no page, or not ours
        kept = {}
    models = {**kept, key: entry}
    data = {
        "drawn": drawn,
        "colours": colours,
        "samples": list(samples),
        "mean": mean_image,
        "models": models,
    }
    block = json.dumps(
        data, default=as_json, separators=(",", ":"), allow_nan=False
    ).replace("<", "\\u003c")
    return TEMPLATE.read_text("utf-8").replace(DATA.format("null"), DATA.format(block))
