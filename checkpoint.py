"""Saving and loading a run: files that `torch.load` reads, each sealed with a digest of its contents.

A checkpoint of autoencoder.py holds a dict:

    "model", "source"   the model's NAME, and where the images come from: "MNIST" or drawn digits
    "settings"          the run's batch_size, lr and seed
    "step"              how many steps are done
    "weights"           the averaged weights, a `state_dict`:
                        `Autoencoder().load_state_dict(torch.load(path)["weights"])`
    "averaged"          how many times they were averaged
    "latest"            the weights of the last step, a `state_dict`
    "history"           the parts of the loss of each step, float32 (step, parts)
    "tracked"           step to reconstructions of eight test images, float32 (8, 28, 28)
    "optimizer", "random"   what else --resume needs: Adam's state, the states of the random generators

A folder's `checkpoint.pt` is a run that has finished, `unfinished.pt` one that was interrupted or is under way.
"""

import hashlib
import io
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

import utils
from utils import UserError

AVERAGE_EVERY = 10  # steps between two averages of the weights
DECAY = 0.999  # of the average; early in a run less, so that it does not lag behind
FINISHED, UNFINISHED = "checkpoint.pt", "unfinished.pt"
SEAL = 64  # characters of a SHA-256
PICTURES = 5e6  # bytes, about what the pictures of a run take


def sealed(contents):
    """A dict as the bytes of a file, see the top.

    Raises:
        UserError: its "weights" are not all finite.
    """
    weights = [*contents["weights"].values(), *contents.get("latest", {}).values()]
    if not all(weight.isfinite().all() for weight in weights):
        raise UserError("the weights became infinite or NaN, and are not saved; try a smaller --lr")
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    # The digest stands where a zip file, which this is, has room for a comment; two bytes before say how long it is.
    file = buffer.getvalue()[:-2] + struct.pack("<H", SEAL)
    return file + hashlib.sha256(file).hexdigest().encode()


def save_file(path, contents):
    """Writes a dict, with a `state_dict` under "weights", so that a kill at any moment leaves the file before."""
    file = sealed(contents)
    with utils.replacing(path) as part:
        part.write_bytes(file)


def load_file(path, advice="use another one"):
    """The dict that `save_file` wrote, its tensors on the CPU.

    Args:
        advice: what to do where the file is missing.

    Raises:
        UserError: it is missing, cannot be read, is damaged or not such a file.
    """
    try:
        file = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}; {advice}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend that, or use another checkpoint") from error
    if hashlib.sha256(file[:-SEAL]).hexdigest().encode() != file[-SEAL:]:
        raise UserError(
            f"{path} is damaged, or not a checkpoint of this version: its digest is not that of its contents; "
            "use another checkpoint, or train anew"
        )
    return torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)


def latest(folder):
    """The path of a folder's finished checkpoint; of the unfinished one where only that is there."""
    finished, unfinished = folder / FINISHED, folder / UNFINISHED
    return unfinished if unfinished.exists() and not finished.exists() else finished


def refusal(theirs, ours, resume):
    """Why a checkpoint cannot serve a run, or None where it can.

    Args:
        theirs: "model", "source", "settings" and "step" of the checkpoint.
        ours: the same of the run, "step" being the one that it shall reach.
        resume: whether training is to go on, for which the settings must be the same too.
    """
    for key, advice in (("model", "add or leave out --variational"), ("source", "use the --data that it was made of")):
        if theirs[key] != ours[key]:
            return f"is of the {key} {theirs[key]!r}, this run of {ours[key]!r}; {advice}, or another checkpoint"
    if theirs["step"] < 1:
        return "was saved before the first step; train anew"
    if not resume:
        return None
    for name, value in ours["settings"].items():
        if theirs["settings"][name] != value:
            flag = f"--{name.replace('_', '-')}"
            return f"was made with {flag} {theirs['settings'][name]}, this run has {value}; use the same {flag}"
    if theirs["step"] > ours["step"]:
        return (
            f"is at step {theirs['step']:,}, beyond this run's --steps {ours['step']:,}; "
            "use a larger --steps, or --load to make its pictures"
        )
    return None


@torch.no_grad()
def average_weights(averaged, latest, count):
    """Moves the `averaged` tensors towards the `latest`, in place: an exponential moving average (Polyak & Juditsky
    1992 showed what averaging is good for), with a decay that grows with the `count` of averages up to `DECAY`."""
    decay = min(DECAY, (1 + int(count)) / (10 + int(count)))
    for average, weight in zip(averaged, latest, strict=True):
        average.lerp_(weight, 1 - decay)


class Run:
    """A training run: everything that a checkpoint holds.

    At a constant learning rate the weights shake around their place; their moving average, which is what `averaged`
    holds and what pictures and measurements are made of, does not, and training takes no notice of it.

    Args:
        model: an `Autoencoder`, on its device.
        settings: those of the command line.
        source: where the images come from, `utils.MNIST` or `utils.DRAWN`.
        usual: the settings' usual values, a dict of steps, batch_size, lr and seed; others are named in titles.
    """

    def __init__(self, model, settings, source, usual=None):
        self.model, self.source = model, source
        self.settings = {name: getattr(settings, name) for name in ("batch_size", "lr", "seed")}
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)
        self.generator = np.random.default_rng(settings.seed)  # draws the batches
        self.ema = AveragedModel(model, multi_avg_fn=average_weights)
        self.averaged = self.ema.module
        self.usual = usual or {}
        self.step, self.steps = 0, settings.steps
        self.device = next(model.parameters()).device
        self.history = torch.zeros(settings.steps, len(model.PARTS), device=self.device)
        self.tracked = {}

    def unusual(self):
        """Those of the run's settings that are not `usual`, as a dict."""
        settings = {"steps": self.steps, **self.settings}
        return {name: settings[name] for name, value in self.usual.items() if settings[name] != value}

    def folder(self, figures):
        """The `Path` of the run's folder in the folder `figures`, named after its settings."""
        return utils.picture_folder(figures, utils.run_name(self.model.FOLDER, self.unusual()), self.source)

    def title(self):
        """Where the images come from, how long was trained, and what is unusual, in words."""
        unusual = {name: value for name, value in self.unusual().items() if name != "steps"}
        return f"{self.source}, {self.step:,} steps{utils.in_words(unusual)}"

    def count_step(self, losses):
        """Notes that a step is done, with these parts of its loss, `(parts,)`; averages the weights now and then."""
        self.history[self.step] = losses
        self.step += 1
        if self.step % AVERAGE_EVERY == 0 or self.step < AVERAGE_EVERY:
            self.ema.update_parameters(self.model)

    def contents(self):
        """The dict that a checkpoint holds, see the top of this file."""
        random = {"numpy": self.generator.bit_generator.state, "cpu": torch.get_rng_state()}
        if self.device.type != "cpu":
            random[self.device.type] = torch.get_device_module(self.device).get_rng_state()
        return {
            "model": self.model.NAME,
            "source": self.source,
            "settings": self.settings,
            "step": self.step,
            "weights": self.averaged.state_dict(),
            "averaged": self.ema.n_averaged.item(),
            "latest": self.model.state_dict(),
            "history": self.history[: self.step].clone(),  # a slice would be saved with all that it is a slice of
            "tracked": self.tracked,
            "optimizer": self.optimizer.state_dict(),
            "random": random,
        }

    def save(self, path):
        """Writes a checkpoint; a kill at any moment leaves the one before."""
        save_file(path, self.contents())

    def save_in(self, folder):
        """Saves the run in its folder, under the name of a finished run if it is one."""
        if self.step < self.steps:
            self.save(folder / UNFINISHED)
        else:
            self.save(folder / FINISHED)
            (folder / UNFINISHED).unlink(missing_ok=True)

    def try_to_save(self, path):
        """`save`; where it cannot be written, says so, for there may be room again the next time."""
        try:
            self.save(path)
        except OSError as error:
            print(f"\n{utils.explain(error)}; training goes on, and what was saved before stays", file=sys.stderr)

    def load(self, path, resume):
        """Takes over a checkpoint: to go on with it (`resume`), or just what its pictures need.

        Raises:
            UserError: it is missing, damaged, from another model or, to be resumed, from other settings.
        """
        saved = load_file(path, f"{self.model.COMMAND}, with the same --data and settings, trains one")
        ours = {"model": self.model.NAME, "source": self.source, "settings": self.settings, "step": self.steps}
        if reason := refusal(saved, ours, resume):
            raise UserError(f"{path} {reason}")
        try:
            self.averaged.load_state_dict(saved["weights"])
            self.model.load_state_dict(saved["latest"])
        except RuntimeError as error:  # the file is whole, the layers are others
            raise UserError(f"{path} is of a model with other layers; train anew, or use another checkpoint") from error
        self.step, self.tracked = saved["step"], saved["tracked"]
        if not resume:
            self.settings, self.steps, self.history = saved["settings"], self.step, saved["history"]
            return
        self.ema.n_averaged.fill_(saved["averaged"])
        self.history[: self.step] = saved["history"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.generator.bit_generator.state = saved["random"]["numpy"]
        torch.set_rng_state(saved["random"]["cpu"])
        if self.device.type in saved["random"] and self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(saved["random"][self.device.type])

    def begin(self, folder, resume, anew):
        """Takes over the checkpoint with which the run is to begin, if any; looks whether there is room for it.

        Args:
            folder: `Path` of the run's folder.
            resume: None, or the path of a checkpoint to go on with, True for the last one in `folder`.
            anew: whether an unfinished run there is to be given up.

        Raises:
            UserError: see `load`; or there is an unfinished run, and nothing says what to do with it; or no room.
        """
        unfinished = folder / UNFINISHED
        path = (unfinished if unfinished.exists() else folder / FINISHED) if resume is True else resume
        if unfinished.exists() and not anew and (path is None or not unfinished.samefile(path)):
            raise UserError(f"{unfinished} is a run not yet finished; --resume goes on with it, --anew gives it up")
        if path is not None:
            self.load(path, resume=True)
            print(f"Going on from step {self.step:,} of {path}")
        self.check_space(folder)

    def check_space(self, folder):
        """Raises UserError where `folder` has no room for the checkpoints and pictures of this run."""
        # An old and a new checkpoint at a time: weights, their average, Adam's two moments, and the history.
        weights = sum(weight.nbytes for weight in self.model.parameters())
        needed = 2 * (4 * weights + self.history.nbytes) + PICTURES
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                f"{folder} has room for {free / 1e6:.0f} MB, and this run needs {needed / 1e6:.0f} MB; "
                "make room, or name another folder with --figures"
            )
