"""A training run, and what of it lies on disk: a dict that `torch.load` reads, on any device.

"weights"     the averaged weights, a `state_dict`: `Autoencoder().load_state_dict(torch.load(path)["weights"])`
"latest"      the weights of the last step, a `state_dict`
"settings"    what the run was started with; "step", how many steps are done
"losses"      of each step, float32 `(step,)`
"kept"        by step: codes of `watched` images, float32 `(M, latent_dim)`, and pictures of eight, `(8, 28, 28)`
"optimizer", "random"   Adam's state and that of the CPU's random generators, to go on with
"""

import copy
import zipfile

import numpy as np
import torch


class Run:
    """Everything that training changes.

    Args:
        model: on its device; takes images `(N, 28, 28)` to codes and reconstructions.
        watched: images `(M, 28, 28)` whose codes are kept on the way, see `keep`.
        batch_size, lr, seed: images in a step, learning rate of Adam, start of the random choice of images.
        falls: whether the learning rate falls in the course of the run, see `autoencoder.train`.
        other: settings that a checkpoint must have in common with the run that loads it.
    """

    def __init__(self, model, watched, batch_size, lr, seed, falls=False, **other):
        self.model, self.watched, self.falls = model, watched, falls
        self.settings = {"batch_size": batch_size, "lr": lr, "seed": seed, **other}
        self.averaged = copy.deepcopy(model).eval()  # what is measured and shown, see `average`
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.generator = np.random.default_rng(seed)  # draws the batches
        self.step, self.losses, self.kept = 0, torch.zeros(0), {}

    @torch.no_grad()
    def average(self):
        """Moves the averaged weights towards the model's, which shake at a constant learning rate: a moving average
        over about the last ninth of the steps (polynomial decay with eta = 8, Shamir & Zhang 2013, arXiv:1212.1824)."""
        every = 1 if self.step <= 1_000 else 10  # later on, each tenth step is as good, and costs a tenth
        if self.step % every == 0:
            for mean, weight in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(weight, 9 * every / (self.step + 8))

    @torch.no_grad()
    def keep(self):
        """Keeps what the averaged model makes of the watched images at this step."""
        codes, pictures = self.averaged(self.watched)
        self.kept[self.step] = codes.cpu(), pictures[:8].clone().cpu()  # a slice would be saved whole

    def state(self):
        """The dict that goes to disk, see the top of this file; its tensors lie on the CPU."""
        return on_cpu({
            "weights": self.averaged.state_dict(),
            "latest": self.model.state_dict(),
            "settings": self.settings,
            "step": self.step,
            "losses": self.losses[: self.step].clone(),  # a slice would be saved with all that it is a slice of
            "kept": self.kept,
            "optimizer": self.optimizer.state_dict(),
            "random": {"numpy": self.generator.bit_generator.state, "cpu": torch.get_rng_state()},
        })  # fmt: skip

    def load(self, path):
        """Takes over the run that lies at `path`.

        Raises:
            ValueError: it is damaged, or was started with another model or other settings.
        """
        try:
            with zipfile.ZipFile(path) as file:
                if damaged := file.testzip():  # `torch.load` takes a flipped byte without a word
                    raise zipfile.BadZipFile(damaged)
            saved = torch.load(path, map_location="cpu", weights_only=True)
            self.averaged.load_state_dict(saved["weights"])
            self.model.load_state_dict(saved["latest"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.losses, self.kept = saved["step"], saved["losses"], saved["kept"]
            self.generator.bit_generator.state = saved["random"]["numpy"]
            torch.set_rng_state(saved["random"]["cpu"])
        except Exception as error:  # there are many ways to be damaged
            raise ValueError(f"it is damaged, or of another model ({' '.join(str(error).split())[:150]})") from error
        if saved["settings"] != self.settings:
            raise ValueError(f"it was started with {saved['settings']}, not with {self.settings}")


def on_cpu(tree):
    """Dicts, lists and tuples of tensors, with all tensors on the CPU."""
    if isinstance(tree, torch.Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: on_cpu(value) for key, value in tree.items()}
    return type(tree)(map(on_cpu, tree)) if isinstance(tree, (list, tuple)) else tree
