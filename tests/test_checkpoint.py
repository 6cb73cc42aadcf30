"""What a training leaves on disk, and that it goes on from there."""

import multiprocessing
import random
import sys
import time

import numpy as np
import pytest
import torch

import autoencoder
import utils
from autoencoder import Autoencoder, VariationalAutoencoder, train
from extras import checkpoint
from extras.checkpoint import Progress

KINDS = [Autoencoder, VariationalAutoencoder]


def new(kind, steps, **more):
    torch.manual_seed(0)
    return Progress(kind(), steps, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_that_of_its_formula(kind):
    progress = new(kind, 1_030)
    progress.resume(None, None, None)
    weights = torch.randn(1_031, dtype=torch.float64)
    bias = progress.model.encoder[-1].bias
    expected = 0
    for step in range(1, 1_031):
        torch.nn.init.constant_(bias, weights[step])
        progress.after_step(step, torch.ones(()))
        every = 1 if step <= 1_000 else 10
        if step % every == 0:
            share = 9 * every / (step + 8)
            expected = (1 - share) * expected + share * weights[step].item()
    found = progress.averaged.encoder[-1].bias
    assert found.tolist() == pytest.approx([expected] * len(found), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_snapshots_hold_codes_and_pictures(kind, images):
    progress = new(kind, 30, watched=images[:50], painted=images[:10])
    train(progress.model, 30, 50, progress=progress)
    assert set(progress.snapshots) >= {0, 1, 30}
    averaged = progress.averaged
    torch.testing.assert_close(
        progress.snapshots[30]["codes"], averaged.encode(images[:50])
    )
    pictures = averaged.decode(averaged.encode(images[:10]))
    torch.testing.assert_close(progress.snapshots[30]["pictures"], pictures)


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path):
    progress = new(Autoencoder, 50, path=tmp_path / "checkpoint.pt")
    with pytest.raises(FloatingPointError, match="smaller --lr"):
        train(progress.model, 50, 50, lr=1e9, progress=progress)
    assert not list(tmp_path.iterdir())


def trained(kind, steps, path, **more):
    progress = new(kind, steps, path=path, **more)
    train(progress.model, steps, 50, progress=progress)
    return progress


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_plain(kind, images, tmp_path):
    path = tmp_path / "checkpoint.pt"
    progress = trained(kind, 5, path)
    model = kind()
    model.load_state_dict(torch.load(path, weights_only=True)["weights"])
    assert torch.equal(model.encode(images), progress.averaged.encode(images))
    assert path.stat().st_size < 10e6


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    trained(Autoencoder, 5, path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (bytes(flipped), content[:-1000], b"", b"something else"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            new(Autoencoder, 5).load(path)


@pytest.mark.parametrize("key", ["settings", "weights", "snapshots"])
def test_checkpoints_that_lack_something_are_refused(key, tmp_path):
    path = tmp_path / "checkpoint.pt"
    trained(Autoencoder, 5, path)
    saved = torch.load(path)
    del saved[key]
    torch.save(saved, path)
    with pytest.raises(ValueError, match="damaged"):
        new(Autoencoder, 5).load(path)


def test_foreign_checkpoints_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    trained(Autoencoder, 5, path, lr=1e-3)
    with pytest.raises(ValueError, match="another model"):
        new(VariationalAutoencoder, 5).load(path)
    with pytest.raises(ValueError, match="started with another lr"):
        new(Autoencoder, 5, lr=1.0).load(path)


def test_training_goes_on_from_python(tmp_path):
    """The three lines of `train`'s docstring; as if it had never stopped."""
    path = tmp_path / "checkpoint.pt"
    trained(Autoencoder, 20, path)
    model = Autoencoder()
    progress = Progress(model, steps=40).load(path)
    train(model, steps=40, batch_size=50, progress=progress)
    unbroken = trained(Autoencoder, 40, tmp_path / "other.pt")
    assert progress.step == 40
    for ours, theirs in zip(
        model.parameters(), unbroken.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_rate_that_has_fallen_to_0_does_not_jump(tmp_path):
    path = tmp_path / "checkpoint.pt"
    trained(VariationalAutoencoder, 20, path)
    model = VariationalAutoencoder()
    progress = Progress(model, steps=40).load(path)
    with pytest.raises(ValueError, match="planned to fall to 0 by step 20"):
        train(model, steps=40, batch_size=50, progress=progress)


# --- Kills


def train_script(folder, data):
    """What a process does that is killed: the script, which saves every 20 steps, and
    ends without pictures."""
    checkpoint.SAVE_STEPS = 20
    autoencoder.WATCHED = 50
    autoencoder.save_pictures = lambda *_: None
    flags = ["--variational", "--steps", "400", "--batch-size", "8", "--threads", "1"]
    where = ["--data", str(data), "--figures", str(folder)]
    sys.argv = ["autoencoder.py", *flags, *where]
    utils.run_script(autoencoder.main, "autoencoder.py")


def read_steps(folder):
    """The steps of the checkpoint in a folder; 0 where there is none."""
    for path in folder.rglob("checkpoint.pt"):
        return torch.load(path)["step"]
    return 0


@pytest.mark.slow
def test_a_killed_training_goes_on(few, tmp_path):
    """Kills at ten moments while it trains, two of them while two runs share a folder;
    then the weights of an unbroken run."""
    moments = random.Random(0)
    start = multiprocessing.get_context("fork").Process
    killed = tmp_path / "killed"
    struck = 0
    for kill in range(10):
        count = 2 if kill % 5 == 4 else 1
        running = [start(target=train_script, args=(killed, few)) for _ in range(count)]
        before = read_steps(killed)
        for process in running:
            process.start()
        end = time.monotonic() + 60
        while read_steps(killed) == before and time.monotonic() < end:
            time.sleep(0.01)  # until it trains
        time.sleep(moments.uniform(0, 0.05))
        struck += all(process.is_alive() for process in running)
        for process in running:
            process.kill()
            process.join()
    assert struck >= 5
    assert read_steps(killed) > 0
    results = []
    for folder in (killed, tmp_path / "unbroken"):
        last = start(target=train_script, args=(folder, few))
        last.start()
        last.join(120)
        assert last.exitcode == 0
        results.append(torch.load(next(folder.rglob("checkpoint.pt"))))
    assert results[0]["step"] == 400
    for name, weight in results[0]["latest"].items():
        assert np.array_equal(weight, results[1]["latest"][name]), name
