"""One page to explore what was trained, in any browser: fills `explore.html` with weights, codes and images."""

import base64
import json
import os
import sys
import webbrowser
from pathlib import Path

import numpy as np
import torch
from torch import nn

import checkpoint
import latent
import utils
from utils import UserError

MODELS = {  # by their key on the page: name, folder, file, and the command that trains it
    "autoencoder": ("autoencoder", "autoencoder", checkpoint.FINISHED, "python autoencoder.py"),
    "variational": (
        "variational autoencoder",
        "variational",
        checkpoint.FINISHED,
        "python autoencoder.py --variational",
    ),
    "sparse": ("sparse autoencoder", "codelet7", "model.pt", "python codelet7.py"),
}
TEMPLATE = Path(__file__).with_name("explore.html")
DATA = '<script type="application/json" id="run">null</script>'  # its null becomes the data of the page
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)


# --- The networks ----------------------------------------------------------------------------


@torch.no_grad()
def describe(module):
    """A network as the page's interpreter reads it: a list of layers, each a dict.

    The weights of an `nn.Linear` are rounded to 16 bits, whole numbers that are to be taken times a scale for each
    row: that changes the pixels of a trained model by less than a tenth of a grey level (8 bits: by up to 15).

    Args:
        module: an `nn.Linear`, `nn.LayerNorm` or one of `ACTIVATIONS`; an `nn.Sequential` of such; or a module named
            `Residual`, whose children, one after the other, give what it adds to its input.

    Raises:
        UserError: another kind of module.
    """
    kind = type(module).__name__
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in describe(child)]
    if kind == "Residual":
        return [{"type": kind, "layers": describe(nn.Sequential(*module.children()))}]
    if isinstance(module, nn.Linear):
        scale = module.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / torch.iinfo(torch.int16).max
        weight = (module.weight / scale).round().short()
        return [{"type": kind, "weight": weight, "scale": scale, "bias": module.bias}]
    if isinstance(module, nn.LayerNorm):
        return [{"type": kind, "weight": module.weight, "bias": module.bias, "eps": module.eps}]
    if isinstance(module, ACTIVATIONS) and getattr(module, "approximate", "none") == "none":
        return [{"type": kind}]
    known = ", ".join(activation.__name__ for activation in ACTIVATIONS)
    raise UserError(f"the page cannot compute {module}; it knows Sequential, Linear, LayerNorm, Residual, {known}")


def plane_entry(plane):
    """What the page gets of a dense or variational autoencoder, out of its `latent.Plane`."""
    encoder = describe(plane.model.encoder.layers)
    return {
        "encoder": encoder,
        "decoder": describe(nn.Sequential(plane.model.decoder.layers, nn.Sigmoid())),
        "posterior": len(encoder[-1]["bias"]) > 2,  # whether the encoder gives logvar, too
        "codes": plane.codes.astype(np.float32),
        "labels": plane.labels.astype(np.uint8),
        "views": [np.array(square).tolist() for square in (plane.limits, plane.middle().limits)],
        "random": plane.model.spread(np.random.default_rng(0).random((1000, 2)), plane.limits).astype(np.float32),
        "spread": plane.model.SPREAD,
        "facts": plane.source,
    }


def sparse_entry(model, facts):
    """What the page gets of a `SparseAutoencoder`: two layers more, from pixels in [0, 1] and back to them; `facts`
    say in words how it was trained."""
    from codelet7 import MEAN, STD

    return {
        "encoder": [{"type": "Affine", "times": 1 / STD, "plus": -MEAN / STD}, *describe(model.encoder)],
        "decoder": [*describe(model.decoder), {"type": "Affine", "times": STD, "plus": MEAN}],
        "white": MEAN + STD,  # the lightest grey that a Tanh can give
        "facts": facts,
    }


# --- The page --------------------------------------------------------------------------------


def as_json(array):
    """An array or a tensor as the page reads it, for `json.dumps`."""
    array = np.ascontiguousarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array)
    return {"dtype": array.dtype.name, "base64": base64.b64encode(array).decode()}


def write_page(path, digits, autoencoder=None, variational=None, sparse=None):
    """Writes the page, and prints its path.

    Args:
        digits: the test set, `utils.Digits`; the page takes ten images of it, and the mean of all.
        autoencoder, variational: a `latent.Plane` each.
        sparse: a `SparseAutoencoder`, and in words how it was trained.

    For a model that is None the page names the command that trains it.

    Raises:
        UserError: a network holds a module that the page cannot compute.
    """
    entries = {
        "autoencoder": autoencoder and plane_entry(autoencoder),
        "variational": variational and plane_entry(variational),
        "sparse": sparse and sparse_entry(*sparse),
    }
    data = {
        "drawn": digits.source != utils.MNIST,
        "colours": latent.COLOURS,
        "samples": [digits.images[np.argmax(digits.labels == digit)] for digit in range(10)],
        "mean": digits.images.mean(axis=0).round().astype(np.uint8),
        "models": {
            key: {"name": name, "command": command, **(entries[key] or {})}
            for key, (name, _, _, command) in MODELS.items()
        },
    }
    block = json.dumps(data, default=as_json, separators=(",", ":")).replace("<", "\\u003c")
    with utils.replacing(Path(path)) as part:
        part.write_text(TEMPLATE.read_text("utf-8").replace(DATA, DATA.replace("null", block)), "utf-8")
    print(f"  {path}")


def open_page(path, quiet=False):
    """Opens the page in a browser; where there is none, or no display, or it shall not (`quiet`), a line says so."""
    display = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if quiet:
        print(f"Not opened, as asked; any browser shows {path}")
    elif not display or not webbrowser.open(Path(path).resolve().as_uri()):
        print(f"There is no {'browser' if display else 'display'} here to open it in; any browser shows {path}")


def latest_of(folder, changed, base, name):
    """The path of the file `name` of a model's run: of the run with the flags `changed`, else of that with the
    default settings, else of the last one; None where there is none."""
    asked = utils.run_name(base, changed)
    runs = [*folder.glob(f"{base}/{name}"), *folder.glob(f"{base}-*/{name}")]
    return max(
        runs, key=lambda path: (path.parent.name == asked, path.parent.name == base, path.stat().st_mtime), default=None
    )


def explore(settings, changed):
    """`--explore`: writes the page of what has been trained under `--figures`, and opens it.

    Args:
        settings: of which it takes `figures`, `data` and `no_open`.
        changed: `utils.changed_flags` of the script, see `latest_of`.

    Raises:
        UserError: nothing has been trained, a checkpoint cannot be read, or see `describe`.
    """
    from autoencoder import Autoencoder, VariationalAutoencoder, sample_train
    from codelet7 import SparseAutoencoder

    digits = utils.load_digits(False, settings.data)
    folder = utils.picture_folder(settings.figures, "", digits.source)
    paths = {key: latest_of(folder, changed, base, file) for key, (_, base, file, _) in MODELS.items()}
    if not any(paths.values()):
        raise UserError(f"nothing has been trained under {folder}; {MODELS['autoencoder'][-1]} trains a first model")
    images, labels = sample_train(latent.PLOTTED, True, settings.data, generator=np.random.default_rng(0))
    trained, other = {}, ""  # other: what the folder of a run adds to its name, with other settings than the defaults
    for key, path in paths.items():
        if path is None:
            continue
        name, base, _, _ = MODELS[key]
        weights = (saved := checkpoint.load_file(path))["weights"]
        try:
            if key == "sparse":
                model = SparseAutoencoder(28 * 28, len(weights["encoder.0.weight"]))
            else:
                model = {"autoencoder": Autoencoder, "variational": VariationalAutoencoder}[key]()
            model.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:  # the file is whole, the layers are others
            raise UserError(f"{path} is of a model with other layers; train anew, or move it away") from error
        print(f"  {path}: the {name}")
        other = other or path.parent.name.removeprefix(base)
        if key == "sparse":
            trained[key] = model, f"{digits.source}, {saved['settings']['epochs']} epochs"
        else:
            trained[key] = latent.Plane.of(model, images, labels, f"{digits.source}, {saved['step']:,} steps")
    path = folder / f"explore{other}.html"
    write_page(path, digits, **trained)
    open_page(path, settings.no_open)
