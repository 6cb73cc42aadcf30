"""The dense and the variational autoencoder: their contracts, training, pictures, and by running the script."""

import gzip
import os
import re
import signal
import struct
import sys
import time
from concurrent import futures

import numpy as np
import pytest
import torch
from torch import distributions

import autoencoder
import checkpoint
import latent
import utils
from tests.running import Forked, small_disk, start_script

KINDS = [autoencoder.Autoencoder, autoencoder.VariationalAutoencoder]
PICTURES = ["digit4.png", "digits.png", "latent.png", "plane.png", "random.png", "reconstructions.png", "training.png"]
DEVICE = torch.device("cpu")


@pytest.fixture
def drawn(digits_file, monkeypatch):
    """Makes the project see 3,000 drawn training digits, of which 1,000 also serve as test digits."""
    file = np.load(digits_file)
    sets = {
        train: utils.Digits(file["images"][:count], file["labels"][:count], utils.DRAWN)
        for train, count in ((True, 3000), (False, 1000))
    }
    monkeypatch.setattr(utils, "load_digits", lambda train=True, data=None, read=None: sets[train])
    monkeypatch.setattr(latent, "PLOTTED", 2000)
    autoencoder.load_tensors.cache_clear()
    yield sets
    autoencoder.load_tensors.cache_clear()


@pytest.fixture
def heeded():
    """Signals reach this process, though a shell that started it may have it ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def settings(*arguments):
    return autoencoder.make_parser().parse_args([str(argument) for argument in arguments])


def new_run(kind=autoencoder.Autoencoder, *arguments):
    chosen = settings("--steps", 40, "--batch-size", 20, *arguments)
    torch.manual_seed(chosen.seed)
    return checkpoint.Run(kind(), chosen, utils.DRAWN)


def train(run, folder):
    with utils.Threads(1, DEVICE) as threads:
        autoencoder.train(run, None, torch.full((8, 28, 28), 0.5), folder, threads)
    return run


def train_on_noise(run):
    for _ in range(3):
        run.count_step(autoencoder.train_step(run.model, run.optimizer, torch.rand(9, 28, 28)))
    return run


def free(folder):
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def stop_at(step, monkeypatch, name="SIGINT"):
    """Has a signal come while the step after `step` is computed."""
    compute = autoencoder.train_step
    done = 0

    def train_step(*arguments):
        nonlocal done
        if done == step:
            os.kill(os.getpid(), getattr(signal, name))
        done += 1
        return compute(*arguments)

    monkeypatch.setattr(autoencoder, "train_step", train_step)


# --- Models


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_ranges(kind):
    model = kind(latent_dim=2).eval()
    codes, reconstructions = model(torch.rand(5, 28, 28))
    assert codes.shape == (5, 2)
    assert reconstructions.shape == (5, 28, 28)
    assert reconstructions.min() >= 0
    assert reconstructions.max() <= 1
    assert model.decoder(100 * torch.randn(3, 2)).shape == (3, 28, 28)


def test_submodules_are_the_assignments():
    model = autoencoder.Autoencoder()
    images = torch.rand(5, 28, 28)
    codes, reconstructions = model(images)
    assert torch.equal(codes, model.encoder(images))
    assert torch.equal(reconstructions, model.decoder(codes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 784), (28, 28), (5, 1, 28, 28), (5, 28, 27)])
def test_wrong_images_are_refused(kind, shape):
    for module in (kind(), kind().encoder):
        with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*\(N, 28, 28\)"):
            module(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(5, 3), (2,), (5, 2, 1)])
def test_wrong_codes_are_refused(shape):
    with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*\(N, 2\)"):
        autoencoder.Autoencoder().decoder(torch.zeros(shape))


def test_mean_squared_error():
    model, images = autoencoder.Autoencoder(), torch.rand(7, 28, 28)
    expected = np.square(model(images)[1].detach().double().numpy() - images.double().numpy()).mean()
    assert model.losses(images)[0].item() == pytest.approx(expected, rel=1e-5)


def test_kl_against_torch_distributions():
    torch.manual_seed(0)
    standard = distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    for scale in (0.1, 1, 20):
        mu, logvar = torch.randn(50, 2).double() * scale, torch.randn(50, 2).double() * scale
        expected = distributions.kl_divergence(distributions.Normal(mu, torch.exp(logvar / 2)), standard)
        torch.testing.assert_close(autoencoder.kl_divergence(mu, logvar), expected)
    assert autoencoder.kl_divergence(torch.zeros(1), torch.zeros(1)).item() == 0


@pytest.mark.parametrize("logvar", [-1e4, -20, 20, 1e4])
def test_extreme_log_variances_stay_finite(logvar):
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(4, 28, 28)
    last = model.encoder.layers[-1]
    with torch.no_grad():
        last.bias[2:] = logvar
    losses = model.losses(images)
    sum(losses).backward()
    assert all(loss.isfinite() for loss in losses)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    limited = np.clip(logvar, *autoencoder.LOGVAR_LIMITS)
    mu, _ = model.posterior(images)
    expected = distributions.kl_divergence(distributions.Normal(mu, np.exp(limited / 2)), distributions.Normal(0, 1))
    assert losses[1].item() == pytest.approx(expected.sum().item() / 4, rel=0.02)


def test_likelihood_against_torch_distributions():
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(6, 28, 28)
    for gain in (1, 300):  # also where the sigmoid is 0 or 1 in float32
        with torch.no_grad():
            model.decoder.layers[-1].weight *= gain
            torch.manual_seed(3)
            reconstruction = model.losses(images)[0]
            torch.manual_seed(3)
            logits = model.decoder.logits(autoencoder.reparameterise(*model.posterior(images)))
        expected = (
            -distributions.Bernoulli(logits=logits.double(), validate_args=False).log_prob(images.double()).sum() / 6
        )
        assert reconstruction.item() == pytest.approx(expected.item(), rel=1e-5)


def test_samples_when_training_and_means_when_evaluating():
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(1, 28, 28).expand(4000, -1, -1)
    mu, logvar = (value[0].detach() for value in model.posterior(images))
    assert torch.equal(model.eval()(images)[0], model.posterior(images)[0])
    codes = model.train()(images)[0].detach()
    torch.testing.assert_close(codes.mean(dim=0), mu, atol=0.1, rtol=0)
    torch.testing.assert_close(codes.var(dim=0), logvar.exp(), atol=0, rtol=0.15)


# --- Data


def test_sample_train(drawn):
    images, labels = autoencoder.sample_train(2000, return_labels=True)
    assert images.shape == (2000, 28, 28)
    assert images.dtype == torch.float32
    assert labels.shape == (2000,)
    assert labels.dtype == torch.int64
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.max() > 0.9
    assert torch.equal(
        autoencoder.sample_train(5, generator=np.random.default_rng(1)),
        autoencoder.sample_train(5, generator=np.random.default_rng(1)),
    )
    assert not torch.equal(autoencoder.sample_train(5), autoencoder.sample_train(5))


def test_sample_train_draws_evenly_and_without_repeats(drawn):
    images, labels = autoencoder.sample_train(3000, return_labels=True)  # all of them
    expected = drawn[True].images.reshape(3000, -1)
    assert sorted(map(bytes, (images * 255).round().byte().view(3000, -1).numpy())) == sorted(map(bytes, expected))
    assert labels.bincount().tolist() == np.bincount(drawn[True].labels).tolist()
    counts = sum(autoencoder.sample_train(200, True)[1].bincount(minlength=10) for _ in range(200))
    assert (counts / counts.sum() - 0.1).abs().max() < 0.01


def test_labels_belong_to_their_images(drawn):
    by_image = {bytes(image): label for image, label in zip(drawn[True].images, drawn[True].labels, strict=True)}
    for image, label in zip(*autoencoder.sample_train(50, return_labels=True), strict=True):
        assert by_image[bytes((image * 255).round().byte().numpy())] == label


@pytest.mark.parametrize("count", [0, -1, 3001])
def test_sample_train_refuses(drawn, count):
    with pytest.raises(ValueError, match=f"N is {count}; expected 1 to 3,000"):
        autoencoder.sample_train(count)


def test_the_mnist_package_reads_the_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()))
    for read in (autoencoder.read_with_mnist, utils.read_idx):
        np.testing.assert_array_equal(read(path), images)


def test_tensors_are_kept_once(drawn):
    images, _labels = autoencoder.load_tensors(True, None, DEVICE)
    np.testing.assert_allclose(images.numpy(), drawn[True].images / 255, atol=1e-7)
    for device in ("cpu", DEVICE):
        autoencoder.sample_train(5, device=device)
    assert autoencoder.load_tensors.cache_info().currsize == 1


# --- Training


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_a_seed_repeats_it(drawn, kind, tmp_path):
    histories = []
    for seed in (0, 0, 1):
        run = train(new_run(kind, "--seed", seed, "--steps", 60, "--batch-size", 50), tmp_path)
        histories.append(run.history.sum(dim=1))
    assert histories[0][-20:].mean() < 0.95 * histories[0][:20].mean()
    assert torch.equal(histories[0], histories[1])
    assert not torch.equal(histories[0], histories[2])


def test_progress_in_a_pipe(drawn, tmp_path, capsys):
    train(new_run(autoencoder.Autoencoder, "--steps", 230, "--batch-size", 20), tmp_path)
    assert re.fullmatch(r"step 230/230, loss 0\.\d{4,5}, \d+/s, 0:00 left\n", capsys.readouterr().out)


def test_the_speed_is_the_present_one(capsys):
    run = new_run(autoencoder.Autoencoder, "--steps", 50_000)
    progress = autoencoder.Progress(run)
    for run.step, seconds in ((10_000, 0.02), (20_000, 0.02), (21_000, 0.4), (22_000, 0.4)):
        time.sleep(seconds)
        progress.show()
    speeds = re.findall(r"(\d+)/s", capsys.readouterr().out)
    assert int(speeds[-1]) <= 2_000 / 0.8 < int(speeds[1])


def test_kl_collapses_in_neither_dimension(drawn, tmp_path):
    run = train(new_run(autoencoder.VariationalAutoencoder, "--steps", 400, "--batch-size", 40), tmp_path)
    images, _ = autoencoder.load_tensors(False, None, DEVICE)
    with torch.no_grad():
        mu, logvar = run.model.posterior(images)
    assert autoencoder.LOGVAR_LIMITS[0] < logvar.min() and logvar.max() < autoencoder.LOGVAR_LIMITS[1]
    assert (autoencoder.kl_divergence(mu, logvar).mean(dim=0) > 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_in_the_same_weights(drawn, heeded, kind, tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    train(new_run(kind), tmp_path / "whole")

    stop_at(17, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C at step 18; .*--resume goes on"):
        train(new_run(kind), tmp_path)
    monkeypatch.setattr(utils, "load_digits", None)  # the tensors are there
    torch.rand(1000)  # whatever the random state was, the checkpoint's counts
    second = new_run(kind)
    second.begin(tmp_path, resume=True, anew=False)
    assert second.step == 18
    train(second, tmp_path)

    expected, got = (checkpoint.load_file(folder / "checkpoint.pt") for folder in (tmp_path / "whole", tmp_path))
    for part in ("weights", "latest"):
        assert all(torch.equal(weight, got[part][name]) for name, weight in expected[part].items())
    assert torch.equal(expected["history"], got["history"])
    assert expected["tracked"].keys() == got["tracked"].keys() == {0, 40}
    assert not (tmp_path / "unfinished.pt").exists()


def test_a_shorter_run_goes_on_as_a_longer_one(drawn, tmp_path):
    whole = train(new_run(), tmp_path)
    folders = tmp_path / "short", tmp_path / "long"
    for folder in folders:
        folder.mkdir()
    train(new_run(autoencoder.Autoencoder, "--steps", 25), folders[0])
    run = new_run()
    run.begin(folders[1], resume=str(folders[0] / "checkpoint.pt"), anew=False)
    assert run.step == 25
    assert torch.equal(train(run, folders[1]).history, whole.history)
    assert checkpoint.load_file(folders[0] / "checkpoint.pt")["step"] == 25


def test_a_stop_at_the_last_step_is_heeded(drawn, heeded, tmp_path, monkeypatch):
    stop_at(39, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C at step 40; .*--resume makes the pictures"):
        train(new_run(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_stop_before_the_first_step_leaves_no_checkpoint(drawn, heeded, tmp_path, monkeypatch):
    reconstruct = latent.reconstruct

    def stopped(*arguments):
        signal.raise_signal(signal.SIGINT)
        return reconstruct(*arguments)

    monkeypatch.setattr(latent, "reconstruct", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(new_run(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_kept_until_another_has_finished(drawn, heeded, tmp_path, monkeypatch):
    finished, unfinished = tmp_path / "checkpoint.pt", tmp_path / "unfinished.pt"
    train(new_run(), tmp_path)
    first = finished.read_bytes()
    stop_at(10, monkeypatch)
    run = new_run()
    run.begin(tmp_path, resume=None, anew=False)
    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path)
    assert finished.read_bytes() == first
    assert checkpoint.load_file(unfinished)["step"] == 11
    torch.rand(1)
    run = new_run(autoencoder.Autoencoder)
    run.begin(tmp_path, resume=True, anew=False)
    train(run, tmp_path)
    assert checkpoint.load_file(finished)["step"] == 40
    assert not unfinished.exists()


@pytest.mark.parametrize("by", ["steps", "seconds"])
def test_checkpoints_on_the_way(drawn, tmp_path, monkeypatch, by):
    monkeypatch.setattr(autoencoder, "CHECKPOINT_STEPS", 5 if by == "steps" else 1000)
    monkeypatch.setattr(autoencoder, "CHECKPOINT_SECONDS", 60 if by == "steps" else 0)
    saved, save = [], checkpoint.Run.save
    monkeypatch.setattr(
        checkpoint.Run, "save", lambda run, path: (saved.append((run.step, path.name)), save(run, path))
    )
    train(new_run(autoencoder.Autoencoder, "--steps", 12, "--batch-size", 10), tmp_path)
    on_the_way = (5, 10) if by == "steps" else range(1, 13)
    assert saved == [*((step, "unfinished.pt") for step in on_the_way), (12, "checkpoint.pt")]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_is_full_for_a_while_stops_nothing(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(autoencoder, "CHECKPOINT_STEPS", 15)
    with small_disk(tmp_path / "disk", 24 << 20) as disk:
        compute, done = autoencoder.train_step, 0

        def train_step(*arguments):  # there is no room around step 30
            nonlocal done
            done += 1
            if done == 16:
                (disk / "other").write_bytes(bytes(free(disk) - (1 << 20)))
            elif done == 31:
                assert checkpoint.load_file(disk / "unfinished.pt")["step"] == 15
                (disk / "other").unlink()
            return compute(*arguments)

        monkeypatch.setattr(autoencoder, "train_step", train_step)
        train(new_run(), disk)
        assert checkpoint.load_file(disk / "checkpoint.pt")["step"] == 40
    assert re.fullmatch(
        r"error: .*unfinished.pt: No space left on device; training goes on, and what was saved before stays",
        capsys.readouterr().err.strip(),
    )


def test_a_loss_that_explodes_stops_the_run(drawn, tmp_path):
    with pytest.raises(utils.UserError, match=r"the loss became (nan|inf) by step 40; try a smaller --lr"):
        train(new_run(autoencoder.Autoencoder, "--lr", "1e30"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_explode_are_not_saved(drawn, tmp_path):
    with pytest.raises(utils.UserError, match="the weights became infinite or NaN"):
        train(new_run(autoencoder.Autoencoder, "--lr", "1e38", "--steps", 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- Measurements and pictures


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_is_the_loss_of_the_mean_image(drawn, kind):
    images, _ = autoencoder.load_tensors(False, None, DEVICE)
    mean = images.mean(dim=0).expand_as(images)
    if kind is autoencoder.Autoencoder:
        expected = np.square(images.double().numpy() - mean.double().numpy()).mean()
    else:
        bernoulli = distributions.Bernoulli(probs=mean.double().clamp(1e-12, 1 - 1e-12), validate_args=False)
        expected = -bernoulli.log_prob(images.double()).sum().item() / len(images)
    assert kind().baseline(images) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_pictures_give_back_the_mode_of_the_model(tmp_path, training):
    model = autoencoder.VariationalAutoencoder().train(training)
    images = torch.rand(3, 28, 28)
    autoencoder.plot(model, images, tmp_path / "pairs.png")
    for use in (latent.encode, latent.reconstruct, latent.reconstruction_error):
        use(model, images)
    latent.decode(model, [(0, 0)])
    assert all(part.training == training for part in model.modules())
    assert torch.equal(model(images)[0], model(images)[0]) == (not training), "samples when training"
    with pytest.raises(ValueError, match="shape"):
        latent.encode(model, torch.rand(3, 28, 27))
    assert model.training == training


@pytest.mark.parametrize("count", [1, 3])
def test_plot(tmp_path, monkeypatch, count):
    figures, save = [], utils.save
    monkeypatch.setattr(utils, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    model, images = autoencoder.Autoencoder(), torch.rand(count, 28, 28)
    assert autoencoder.plot(model, images, tmp_path / "pairs.png") is None
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == ["original", "reconstruction", *[""] * (2 * count - 2)]
    expected = [image for pair in zip(images, model(images)[1].detach(), strict=True) for image in pair]
    for axis, image in zip(axes, expected, strict=True):
        np.testing.assert_allclose(axis.images[0].get_array(), image, atol=1e-5)
    assert (tmp_path / "pairs.png").stat().st_size > 0


# --- The script


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--resume --load x", "--resume and --load do not go together"),
        ("--resume --anew", "--resume and --anew do not go together"),
        ("--code 0 0 --compare", "--code and --compare do not go together"),
        ("--explore --anew --compare", "--anew and --explore and --compare do not go together"),
        ("--load x --steps 5 --lr 2", "leave out --steps 5 --lr 2.0"),
    ],
)
def test_flags_that_contradict_each_other(arguments, words):
    with pytest.raises(utils.UserError, match=words):
        autoencoder.check(settings(*arguments.split()))


@pytest.mark.parametrize(
    "arguments",
    ["", "--resume", "--resume x --anew", "--anew", "--load x --code -1e2 0", "--load x", "--steps 5 --resume"],
)
def test_flags_that_go_together(arguments):
    autoencoder.check(settings(*arguments.split()))


@pytest.mark.parametrize("flag", ["--data", "--load", "--resume", "--figures"])
def test_a_name_from_a_variable_that_is_not_set(flag):
    with pytest.raises(utils.UserError, match=f"{flag}: the name is empty"):
        settings(flag, "")


def test_runs_with_other_settings_have_folders_of_their_own(drawn, tmp_path):
    names = set()
    for flags in ((), ("--steps", 7), ("--lr", 1, "--seed", 3), ("--variational",), ("--variational", "--steps", 7)):
        chosen = settings("--figures", tmp_path, *flags)
        kind = KINDS[chosen.variational]
        names.add(autoencoder.new_run(kind, chosen).folder(tmp_path).name)
    assert names == {
        "autoencoder",
        "autoencoder-steps7",
        "autoencoder-lr1.0-seed3",
        "variational",
        "variational-steps7",
    }


def test_a_batch_larger_than_the_set_is_refused(drawn, tmp_path):
    with pytest.raises(utils.UserError, match="--batch-size 3001: there are only 3,000"):
        autoencoder.main(settings("--batch-size", 3001, "--figures", tmp_path))


def after_training(output):
    """What a run prints of its model, line by line."""
    return output[output.index("After") :].splitlines()


def test_main_on_few_drawn_digits(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latent, "RANDOM", 300)
    figures = ("--figures", tmp_path)
    monkeypatch.setattr(utils, "save", lambda figure, path: path.touch())  # one run's pictures are enough, see below
    for flags, kind in ((["--steps", 30], KINDS[0]), (["--steps", 30, "--variational"], KINDS[1])):
        autoencoder.main(settings(*flags, *figures))
        folder = tmp_path / "drawn" / f"{kind.FOLDER}-steps30"
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", *PICTURES]
        said = after_training(capsys.readouterr().out)
        assert said[0] == "After 30 steps:"
        assert said[1].startswith(f"  {kind.LOSS}, test set: ")
        loss, baseline = map(float, re.search(r": ([\d.]+).*; the mean image's: ([\d.]+)", said[1]).groups())
        assert (loss > 0.99 * baseline) == said[-1].startswith("Nothing was learned")
    for path in folder.glob("*.png"):
        path.unlink()
    autoencoder.main(settings("--code", "-1.5e0", "100", *flags, *figures))
    autoencoder.main(settings("--digit", "7", *flags, *figures))
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "code.png", "digit7.png"]
    autoencoder.main(settings("--compare", "--steps", 30, *figures))
    assert [path.name for path in (tmp_path / "drawn").glob("*.png")] == ["unruly_or_tamed-steps30.png"]
    capsys.readouterr()
    monkeypatch.setattr(utils, "save", lambda figure, path: figure.savefig(path, dpi=30))  # coarsely: all is drawn
    autoencoder.main(settings("--load", folder / "checkpoint.pt", "--figures", tmp_path / "again", "--variational"))
    again = tmp_path / "again" / "drawn" / folder.name
    assert sorted(path.name for path in again.iterdir()) == PICTURES
    assert after_training(capsys.readouterr().out) == said


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_diverged_says_so(drawn, tmp_path, monkeypatch, capsys, kind):
    for module, name in ((latent, "save_pictures"), (latent, "save_training"), (autoencoder, "plot")):
        monkeypatch.setattr(module, name, lambda *_: [])
    flags = ["--variational"] if kind is KINDS[1] else []
    autoencoder.main(settings("--steps", 30, "--lr", 10 if kind is KINDS[0] else 1, "--figures", tmp_path, *flags))
    assert "Nothing was learned: the loss is" in capsys.readouterr().out


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
@pytest.mark.parametrize(
    ("flags", "pattern", "bound"),
    [
        ([], r"mean squared error: .* (0\.\d{4}) test", 0.0430),  # the mean image gives 0.0675, PCA 0.0560
        (["--variational"], r"negative ELBO .* test set: (\d+\.\d)", 152),  # the mean image gives 206.3
    ],
)
def test_a_few_thousand_real_steps(tmp_path, monkeypatch, capsys, flags, pattern, bound):
    monkeypatch.setattr(utils, "save", lambda figure, path: None)
    autoencoder.load_tensors.cache_clear()
    autoencoder.main(settings("--data", os.environ["MNIST_DIR"], "--figures", tmp_path, "--steps", 2000, *flags))
    assert float(re.search(pattern, capsys.readouterr().out)[1]) < bound


@pytest.mark.parametrize("flags", [["--load", "nowhere.pt"], ["--code", "1", "2"], ["--compare"], ["--resume"]])
def test_a_missing_checkpoint_says_what_to_do(drawn, tmp_path, flags):
    with pytest.raises(utils.UserError, match=r"there is no checkpoint .*python autoencoder.py, with the same --data"):
        autoencoder.main(settings("--figures", tmp_path, *flags))


def test_an_error_has_a_line_of_its_own_on_a_terminal(tmp_path, digits_file):
    done = Forked(
        "autoencoder.py", "--steps", 40, "--lr", "1e30", cwd=tmp_path, digits=digits_file, terminal=True
    ).end()
    assert done.returncode == 1
    assert done.stdout.endswith("\n")
    assert done.stderr.splitlines()[-1].startswith("autoencoder.py: error: the loss became ")


def test_a_closed_pipe_ends_in_one_line_and_loses_nothing(tmp_path, digits_file):
    script = Forked("autoencoder.py", "--batch-size", 1, cwd=tmp_path, digits=digits_file)
    script.until("Data: ")
    script.close()
    done = script.end()
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"autoencoder.py: stopped by a closed output at step 1,000; .*--resume goes on from there", line
    )
    folder = tmp_path / "figures" / "drawn" / "autoencoder-batch-size1"
    assert checkpoint.load_file(folder / "unfinished.pt")["step"] == 1_000


# --- The script in processes of its own, which run while the tests above do


MOMENTS = ("argparse", "matplotlib.rcsetup", "mnist")  # imports after which Ctrl-C comes
FILLING = ("autoencoder.py", "--steps", 300, "--figures", "figür")


@pytest.fixture(scope="module", autouse=True)
def meanwhile(tmp_path_factory, digits_file):
    """The `Future`s of what runs meanwhile, one after the other, by name."""
    folder = tmp_path_factory.mktemp("meanwhile")
    # Here, because the random numbers of a process are those of all its threads.
    checkpoint_size = len(checkpoint.sealed(train_on_noise(new_run()).contents()))
    with futures.ThreadPoolExecutor(1) as executor:
        yield {
            **{moment: executor.submit(interrupt_import, moment, folder) for moment in MOMENTS},
            "nobody reads": executor.submit(read_one_line, folder),
            "full disk": executor.submit(fill_the_disk, folder, digits_file, checkpoint_size),
        }


def interrupt_import(moment, folder):
    """Sends Ctrl-C when a package is imported; returns the exit status, and lines of standard error."""
    errors = []
    with start_script("autoencoder.py", cwd=folder, PYTHONPROFILEIMPORTTIME="1") as process:
        for line in process.stderr:
            if not line.startswith("import time:"):
                errors.append(line)
            elif line.split("|")[-1].strip() == moment:
                process.send_signal(signal.SIGINT)
    return process.returncode, errors


def read_one_line(folder):
    """Reads no more of the output than a line; returns that, the exit status, and lines of standard error."""
    with start_script("autoencoder.py", cwd=folder, MPLBACKEND="nonsense") as process:
        line = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().splitlines()
    return line, process.returncode, errors


def fill_the_disk(folder, digits_file, checkpoint_size):
    """Fills the disk, but for a checkpoint, while a run trains; returns how that ended, and the run that resumes it
    when there is room, each with the names of the files that it left."""
    arguments = {"cwd": folder, "digits": digits_file, "terminal": True, "before": speak_ascii}
    with small_disk(folder / "figür", 32 << 20) as disk:

        def end(script):
            done = script.end()
            return done, sorted(path.name for path in (disk / "drawn" / "autoencoder-steps300").iterdir())

        script = Forked(*FILLING, **arguments)
        script.until("\rstep")  # it has looked for room
        (disk / "other").write_bytes(bytes(free(disk) - checkpoint_size - 300_000))
        filled = end(script)
        (disk / "other").unlink()
        return filled, end(Forked(*FILLING, "--resume", **arguments))


def speak_ascii():
    """A terminal that cannot print the name of the folder."""
    sys.stdout.reconfigure(encoding="ascii")


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_packages_are_imported(meanwhile, moment):
    status, errors = meanwhile[moment].result()
    (line,) = errors
    assert line.endswith("stopped by Ctrl-C\n")
    assert status == 1


def test_a_backend_that_does_not_exist_and_nobody_who_reads(meanwhile):
    line, status, errors = meanwhile["nobody reads"].result()
    assert "loading PyTorch" in line
    assert status == 1
    assert errors[-1] == "autoencoder.py: stopped: nobody reads what it prints any more"
    assert len(errors) == 3, "that, and where the digits come from"


def test_a_disk_that_fills_up_while_pictures_are_drawn(meanwhile):
    (done, files), _ = meanwhile["full disk"].result()
    assert done.returncode == 1
    assert re.fullmatch(
        r"autoencoder.py: error: figür/drawn/autoencoder-steps300/\w+.png: No space left on device; "
        "the training is kept, and the same command with --resume draws",
        done.stderr.splitlines()[-1],
    )
    assert "checkpoint.pt" in files


def test_the_script_to_its_end(meanwhile):
    (begun, _), (done, files) = meanwhile["full disk"].result()
    progress = re.findall("\r(step [^\r\n]*)", begun.stdout)
    assert progress[-1].startswith("step 300/300, loss 0.")
    assert max(map(len, progress)) <= 50
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 2), done.stderr  # where the digits come from
    assert files == ["checkpoint.pt", *PICTURES]
    for path in files:
        assert f"  fig\\xfcr/drawn/autoencoder-steps300/{path}\r\n" in done.stdout
