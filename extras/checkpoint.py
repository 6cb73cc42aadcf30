"""A training run: what it leaves beside its model, in memory and on disk.

A checkpoint is a dict that `torch.load` reads, on any device:

"weights"    the averaged weights, a `state_dict` of the model
"latest"     the weights of the last step, a `state_dict`
"settings"   what the run was started with
"step"       how many steps are done
"losses"     of each step, float32 `(step,)`
"snapshots"  by step, see `Progress.take_snapshot`
"averages", "optimizer", "scheduler", "random"    what is needed to go on. (The state of
a GPU's random numbers is not among it: a variational run goes on with other samples.)
"""

import math
import time
import zipfile

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

SAVE_STEPS = 1_000  # between two checkpoints, about seven seconds of training
SNAPSHOTS = 23  # of the codes on the way, besides that at step 0


class Progress:
    """What a training of `autoencoder.train` leaves beside its model.

    Args:
        model: on its device; takes images to codes and reconstructions.
        steps: how many the run is to have in all.
        path: where `train` saves a checkpoint every `SAVE_STEPS` steps, or None.
        watched: images `(M, 28, 28)` whose codes are kept on the way, or None.
        painted: images `(K, 28, 28)` whose reconstructions are kept beside them.
        threads: up to how many `train` chooses from every `SAVE_STEPS` steps, or None.
        settings: what a checkpoint must have in common with the run that loads it.

    Attributes:
        averaged: the model with averaged weights, which is measured and shown.
        step, losses, snapshots: see the top of this file.
    """

    def __init__(
        self,
        model,
        steps,
        path=None,
        watched=None,
        painted=None,
        threads=None,
        **settings,
    ):
        self.model = model
        self.steps = steps
        self.path = path
        self.watched = watched
        self.painted = painted
        self.threads = threads
        self.settings = settings
        self.averaging = AveragedModel(model, multi_avg_fn=self.move_average)
        self.averaged = self.averaging.module.eval()
        self.step = 0
        self.losses = torch.zeros(steps, device=next(model.parameters()).device)
        self.snapshots = {}
        self.snapshot_steps = set(np.geomspace(1, steps, SNAPSHOTS).round().astype(int))
        self.saved = None
        self.report_started = time.monotonic()

    @torch.no_grad()
    def move_average(self, averaged, current, _):
        """Moves the averaged weights towards the current ones, which shake at a
        constant learning rate: a moving average over about the last ninth of the steps
        (polynomial decay with eta = 8, Shamir & Zhang 2013, arXiv:1212.1824)."""
        share = 9 * self.steps_between_averages / (self.step + 8)
        for mean, weight in zip(averaged, current, strict=True):
            mean.lerp_(weight, share)

    @property
    def steps_between_averages(self):
        """Later on, to average each tenth step is as good."""
        return 1 if self.step <= 1_000 else 10

    @torch.no_grad()
    def take_snapshot(self):
        """Keeps what the averaged model makes of the images at this step."""
        if self.watched is None:
            return
        codes = self.averaged.encode(self.watched)
        pictures = self.averaged.decode(self.averaged.encode(self.painted))
        self.snapshots[self.step] = {"codes": codes.cpu(), "pictures": pictures.cpu()}

    def resume(self, optimizer, scheduler, generator):
        """Takes what `train` made for itself, sets it to where the checkpoint was, if
        one was loaded, and returns how many steps are done.

        Raises:
            ValueError: the learning rate was planned for another number of steps.
        """
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.generator = generator
        if self.saved:
            planned = self.saved["scheduler"]["total_iters"]
            if scheduler.end_factor != 1 and planned != self.steps:
                raise ValueError(
                    f"the learning rate was planned to fall to 0 by step {planned:,}; "
                    f"a run of {self.steps:,} steps has to start anew"
                )
            optimizer.load_state_dict(self.saved["optimizer"])
            scheduler.load_state_dict(self.saved["scheduler"])
            generator.bit_generator.state = self.saved["random"]["numpy"]
            torch.set_rng_state(self.saved["random"]["torch"])
        if self.step == 0:
            self.take_snapshot()
        self.report_started = time.monotonic()
        return self.step

    def after_step(self, step, loss):
        """Takes note of a step, 1 for the first, and says every 1,000 how it goes.

        Raises:
            FloatingPointError: the loss became infinite or NaN.
        """
        self.step = step
        self.losses[step - 1] = loss.detach()
        if step % self.steps_between_averages == 0:
            self.averaging.update_parameters(self.model)
        if step in self.snapshot_steps:
            self.take_snapshot()
        if self.is_due():
            self.report()

    def is_due(self):
        """Whether it is time to save a checkpoint."""
        return self.step % SAVE_STEPS == 0 or self.step == self.steps

    def report(self):
        """Prints the mean loss of the last 1,000 steps, and how long it will take."""
        last = self.losses[max(0, self.step - SAVE_STEPS) : self.step]
        loss = last.mean().item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} by step {self.step}; try a smaller --lr"
            )
        seconds = time.monotonic() - self.report_started
        self.report_started = time.monotonic()
        minutes = (self.steps - self.step) / SAVE_STEPS * seconds / 60
        print(
            f"step {self.step:,}/{self.steps:,}, loss {loss:#.4g}, "
            f"{minutes:.1f} minutes left",
            flush=True,
        )

    def state(self):
        """The dict that goes to disk, see the top of this file."""
        return {
            "weights": self.averaged.state_dict(),
            "latest": self.model.state_dict(),
            "settings": self.settings,
            "step": self.step,
            "losses": self.losses[: self.step].clone(),  # else all would be saved
            "snapshots": self.snapshots,
            "averages": self.averaging.n_averaged,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": {
                "numpy": self.generator.bit_generator.state,
                "torch": torch.get_rng_state(),
            },
        }

    def load(self, path):
        """Takes over the run that lies at `path`, and returns itself.

        Raises:
            ValueError: it is damaged, or was started with another model or other
                settings.
        """
        try:
            saved = read_checkpoint(path)
            differing = self.find_differing(saved["settings"])
            if not differing:
                self.averaged.load_state_dict(saved["weights"])
                self.model.load_state_dict(saved["latest"])
                self.averaging.n_averaged = saved["averages"].to(self.losses.device)
                self.step = saved["step"]
                self.losses[: self.step] = saved["losses"]
                self.snapshots = saved["snapshots"]
        except Exception as error:  # there are many ways to be damaged
            why = " ".join(str(error).split())[:150]
            raise ValueError(f"it is damaged, or of another model ({why})") from error
        if differing:
            raise ValueError(f"it was started with another {', '.join(differing)}")
        self.settings = saved["settings"]
        self.saved = saved
        return self

    def find_differing(self, settings):
        """The names of the run's settings that a checkpoint does not share."""
        return [name for name in self.settings if settings[name] != self.settings[name]]


def read_checkpoint(path):
    """The dict at `path`, on the CPU; fails where a byte of the file has changed, which
    `torch.load` takes without a word."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(damaged)
    return torch.load(path, map_location="cpu", weights_only=True)
