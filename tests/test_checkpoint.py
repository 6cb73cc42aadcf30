"""Checkpoints: what they hold, what becomes of damaged ones, full disks, and of runs that begin where others lie."""

import functools
import re
import resource
import shutil
import signal
import time

import numpy as np
import pytest
import torch

import autoencoder
import checkpoint
import utils
from tests.running import Forked, small_disk, unprivileged

KINDS = [autoencoder.Autoencoder, autoencoder.VariationalAutoencoder]


def new_run(kind=autoencoder.Autoencoder, *arguments):
    settings = autoencoder.make_parser().parse_args(["--steps", "40", *map(str, arguments)])
    torch.manual_seed(settings.seed)
    return checkpoint.Run(kind(), settings, utils.DRAWN)


def trained(run, steps=3):
    """The run after a few steps on noise."""
    for _ in range(steps):
        run.count_step(autoencoder.train_step(run.model, run.optimizer, torch.rand(9, 28, 28)))
    return run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a checkpoint at step 3 of 40."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    trained(new_run()).save(path)
    return path


def refused(path, words, resume=False, run=None):
    """Checks that a checkpoint is refused in one line, that names it, with these words."""
    with pytest.raises(utils.UserError, match=words) as error:
        (run or new_run()).load(path, resume)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# --- The file


@pytest.mark.parametrize("kind", KINDS)
def test_plain_torch_reads_it(kind, tmp_path):
    run = trained(new_run(kind))
    run.save(tmp_path / "checkpoint.pt")
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    model = kind()
    model.load_state_dict(saved["weights"])
    images = torch.rand(5, 28, 28)
    assert torch.equal(model.eval()(images)[1], run.averaged.eval()(images)[1])
    assert (saved["model"], saved["source"], saved["step"]) == (kind.NAME, utils.DRAWN, 3)
    assert saved["settings"] == {"batch_size": 200, "lr": 1e-3, "seed": 0}
    assert torch.equal(saved["history"], run.history[:3])
    assert not torch.equal(saved["history"], torch.zeros_like(saved["history"]))


def test_what_is_loaded_is_what_was_saved(saved):
    run, again = trained(new_run()), new_run()
    again.load(saved, resume=True)
    for part in ("averaged", "model"):
        weights, others = (getattr(each, part).state_dict() for each in (run, again))
        assert all(torch.equal(weights[name], others[name]) for name in weights | others)
    assert torch.equal(run.history, again.history)
    assert again.step == 3


def test_the_history_of_a_long_run_is_no_longer_than_its_steps(tmp_path):
    long = trained(new_run(autoencoder.Autoencoder, "--steps", 5_000_000))
    long.save(tmp_path / "long.pt")
    trained(new_run()).save(tmp_path / "short.pt")
    long_size, short_size = ((tmp_path / name).stat().st_size for name in ("long.pt", "short.pt"))
    assert long_size - short_size < 10_000


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["model", "averaged"])
def test_weights_that_are_no_numbers_are_not_saved(saved, tmp_path, weight, part):
    shutil.copy(saved, tmp_path / "checkpoint.pt")
    run = trained(new_run())
    with torch.no_grad():
        getattr(run, part).decoder.layers[-1].bias[7] = weight
    with pytest.raises(utils.UserError, match=r"weights became infinite or NaN.*smaller --lr"):
        run.save(tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").read_bytes() == saved.read_bytes()


# --- Files that are none


def test_no_flipped_bit_is_loaded(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.save_file(path, {"weights": {"w": torch.arange(6.0)}, "step": 3})
    assert checkpoint.load_file(path)["step"] == 3
    whole = path.read_bytes()
    for place in range(0, len(whole), 4):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(utils.UserError, match="is damaged, or not a checkpoint"):
            checkpoint.load_file(path)


def test_no_flipped_bit_of_a_run_is_loaded(saved, tmp_path):
    whole = bytearray(saved.read_bytes())
    path = tmp_path / "checkpoint.pt"
    places = np.random.default_rng(0).integers(0, len(whole), 30)
    directory = np.arange(len(whole) - 3_000, len(whole), 100)  # of the zip file, at its end
    for place in (*places, *directory):
        whole[place] ^= 1 << place % 8
        path.write_bytes(whole)
        whole[place] ^= 1 << place % 8
        refused(path, "is damaged, or not a checkpoint")


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "longer", "text", "tensor", "dictionary", "pickle", "not sealed", "folder", "missing"]
)
def test_what_is_no_checkpoint_is_refused(saved, tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    whole = saved.read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage == "tensor":
        torch.save(torch.zeros(3), path)
    elif damage == "dictionary":
        torch.save({"weights": {}, "step": 3}, path)
    elif damage == "pickle":  # code that would run if it were unpickled without care
        torch.save({"settings": tmp_path}, path)
    elif damage != "missing":
        files = {"empty": b"", "cut": whole[:-1000], "longer": whole + b"\0", "text": b"not a checkpoint"}
        path.write_bytes(files.get(damage, whole[: -checkpoint.SEAL]))
    expected = {"missing": "there is no checkpoint", "folder": "cannot be read .Is a directory"}
    refused(path, expected.get(damage, "is damaged, or not a checkpoint"))


def test_what_cannot_be_read_is_said_so(saved):
    refused("x" * 300, "cannot be read .File name too long")
    refused(f"{saved}/x", "cannot be read .Not a directory")
    with unprivileged() as folder:
        path = folder / "checkpoint.pt"
        path.touch(mode=0)
        refused(path, "cannot be read .Permission denied")


def test_other_layers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "HIDDEN", (32, 16))
    trained(new_run()).save(tmp_path / "checkpoint.pt")
    monkeypatch.undo()
    refused(tmp_path / "checkpoint.pt", "other layers")


# --- Which checkpoint serves which run


@pytest.mark.parametrize(
    ("flag", "theirs", "mine"), [("--batch-size", 100, 200), ("--lr", 0.01, 0.001), ("--seed", 5, 0)]
)
def test_other_settings_are_refused(tmp_path, flag, theirs, mine):
    path = tmp_path / "checkpoint.pt"
    trained(new_run(autoencoder.Autoencoder, flag, theirs)).save(path)
    refused(path, f"was made with {flag} {theirs}, this run has {mine}", resume=True)
    run = new_run()
    run.load(path, resume=False)  # pictures can be made all the same
    assert run.settings[flag[2:].replace("-", "_")] == theirs


@pytest.mark.parametrize("resume", [True, False])
def test_another_model_or_data_set_is_refused(tmp_path, resume):
    path = tmp_path / "checkpoint.pt"
    for kind, other in (KINDS, KINDS[::-1]):
        trained(new_run(kind)).save(path)
        refused(path, f"of the model '{kind.NAME}', this run of '{other.NAME}'.*--variational", resume, new_run(other))
    run = trained(new_run())
    run.source = utils.MNIST
    run.save(path)
    refused(path, "of the source 'MNIST', this run of 'drawn digits.*--data", resume)


def test_a_checkpoint_beyond_the_run_is_refused(saved):
    shorter = new_run(autoencoder.Autoencoder, "--steps", 2)
    refused(saved, r"at step 3, beyond this run's --steps 2;.*--load", True, shorter)
    shorter.load(saved, resume=False)
    assert shorter.step == 3


@pytest.mark.parametrize("resume", [True, False])
def test_a_checkpoint_before_the_first_step_is_refused(tmp_path, resume):
    new_run().save(tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt", "before the first step; train anew", resume)


def test_why_a_checkpoint_is_refused():
    theirs = {"model": "a", "source": "b", "step": 5, "settings": {"batch_size": 2, "lr": 0.1}}
    for resume in (True, False):
        assert checkpoint.refusal(theirs, {**theirs, "step": 5}, resume) is None
        assert checkpoint.refusal(theirs, {**theirs, "model": "c"}, resume).startswith("is of the model 'a'")
        assert checkpoint.refusal(theirs, {**theirs, "source": "c"}, resume).startswith("is of the source 'b'")
    for ours, words in (({"step": 4}, "is at step 5"), ({"settings": {"batch_size": 3}}, "made with --batch-size 2")):
        assert words in checkpoint.refusal(theirs, {**theirs, **ours}, resume=True)
        assert checkpoint.refusal(theirs, {**theirs, **ours}, resume=False) is None


# --- Where a run begins


def test_an_unfinished_run_is_not_begun_anew_by_mistake(saved, tmp_path):
    shutil.copy(saved, tmp_path / "unfinished.pt")
    for _ in range(2):  # two forgotten --resumes
        with pytest.raises(utils.UserError, match=r"unfinished.pt .*--resume goes on with it, --anew gives it up"):
            new_run().begin(tmp_path, resume=None, anew=False)
    assert (tmp_path / "unfinished.pt").read_bytes() == saved.read_bytes()
    anew, resumed = new_run(), new_run()
    anew.begin(tmp_path, resume=None, anew=True)
    resumed.begin(tmp_path, resume=True, anew=False)
    assert (anew.step, resumed.step) == (0, 3)
    assert (tmp_path / "unfinished.pt").read_bytes() == saved.read_bytes(), "until there is something in its place"


def test_an_unfinished_run_is_not_given_up_for_another_file(saved, tmp_path):
    trained(new_run(), 7).save(tmp_path / "unfinished.pt")
    with pytest.raises(utils.UserError, match=r"unfinished.pt .*--anew gives it up"):
        new_run().begin(tmp_path, resume=str(saved), anew=False)
    run = new_run()
    run.begin(tmp_path, resume=str(saved), anew=True)
    assert run.step == 3
    run.begin(tmp_path, resume=str(tmp_path / "unfinished.pt"), anew=False)
    assert run.step == 7


def test_which_checkpoint_is_resumed_and_which_is_pictured(saved, tmp_path):
    with pytest.raises(utils.UserError, match=r"there is no checkpoint .*python autoencoder.py, with the same --data"):
        new_run().begin(tmp_path, resume=True, anew=False)
    shutil.copy(saved, tmp_path / "unfinished.pt")
    assert checkpoint.latest(tmp_path) == tmp_path / "unfinished.pt"
    trained(new_run(), 40).save(tmp_path / "checkpoint.pt")
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint.pt"
    run = new_run()
    run.begin(tmp_path, resume=True, anew=False)
    assert run.step == 3
    (tmp_path / "unfinished.pt").unlink()
    run.begin(tmp_path, resume=True, anew=False)
    assert run.step == 40


# --- Disks, kills, and other runs


def test_a_disk_without_room_is_noticed_before_training(tmp_path):
    run = new_run()
    words = r"has room for 5 MB, and this run needs \d+ MB; make room, or name another folder"
    with small_disk(tmp_path / "disk", 5 << 20) as disk, pytest.raises(utils.UserError, match=words):
        run.begin(disk, resume=None, anew=False)
    run.begin(tmp_path, resume=None, anew=False)


def test_the_room_that_is_asked_for_is_enough(tmp_path):
    run = trained(new_run(), 40)
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        free = shutil.disk_usage(disk).free
        (disk / "other").write_bytes(bytes(free - (1 << 20)))
        with pytest.raises(utils.UserError) as error:
            run.check_space(disk)
        needed = int(re.search(r"needs (\d+) MB", str(error.value))[1]) * 1e6
        (disk / "other").write_bytes(bytes(int(free - needed)))
        for _ in range(2):  # the second one beside the first
            run.save(disk / "checkpoint.pt")
        left = shutil.disk_usage(disk).free
    assert left >= checkpoint.PICTURES


def test_a_disk_that_fills_up_leaves_the_old_checkpoint(tmp_path, capsys):
    run = trained(new_run())
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        path = disk / "unfinished.pt"
        run.save(path)
        before = path.read_bytes()
        (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - (1 << 20)))
        trained(run).try_to_save(path)
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"error: {path}: No space left on device; training goes on")
        with pytest.raises(OSError, match="No space left") as error:
            run.save(path)
        assert utils.explain(error.value) == f"error: {path}: No space left on device"
        assert path.read_bytes() == before
        assert sorted(file.name for file in disk.iterdir()) == ["other", "unfinished.pt"]
        (disk / "other").unlink()
        run.try_to_save(path)
        assert checkpoint.load_file(path)["step"] == 6


SAVE_FOREVER = """
import sys
from pathlib import Path
from tests.test_checkpoint import new_run, trained
run = trained(new_run())
while True:
    run.step = run.step % 40 + 1
    run.save(Path(sys.argv[1]))
    print(run.step, flush=True)
"""


@pytest.fixture
def savers(tmp_path):
    """Two processes that save checkpoints in a loop, under one name; and its path."""
    path = tmp_path / "checkpoint.pt"
    (tmp_path / "saver.py").write_text(SAVE_FOREVER)
    both = [Forked(tmp_path / "saver.py", path, cwd=tmp_path) for _ in range(2)]
    for saver in both:
        assert "\n" in saver.until("\n")
    yield both, path
    for saver in both:
        saver.process.kill()
        saver.end()


def test_two_runs_under_one_name_leave_whole_checkpoints(savers):
    both, path = savers
    steps = {checkpoint.load_file(path)["step"] for _ in range(40)}
    assert len(steps) > 10, "they were saving meanwhile"
    for saver in both:
        saver.process.kill()
        done = saver.end()
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) > 5


def test_a_kill_while_saving_leaves_a_whole_checkpoint(savers):
    both, path = savers
    for saver, delay in zip(both, (0.003, 0.017), strict=True):
        time.sleep(delay)
        saver.process.kill()
        saver.end()
        assert 1 <= checkpoint.load_file(path)["step"] <= 40


def test_a_file_that_may_not_grow_ends_in_one_line(tmp_path, digits_file):
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    done = Forked("autoencoder.py", "--steps", 20, cwd=tmp_path, digits=digits_file, before=limit).end()
    folder = tmp_path / "figures" / "drawn" / "autoencoder-steps20"
    assert done.returncode == 1
    assert done.stderr.splitlines()[2:] == [
        f"autoencoder.py: error: {(folder / 'checkpoint.pt').relative_to(tmp_path)}: File too large"
    ]
    assert list(folder.iterdir()) == []


def test_no_stop_loses_a_step(tmp_path, digits_file):
    def start(*arguments):
        return Forked("autoencoder.py", *arguments, cwd=tmp_path, digits=digits_file, terminal=True)

    path = tmp_path / "figures" / "drawn" / "autoencoder" / "unfinished.pt"
    last = 0
    for flags, number, name in (
        ([], signal.SIGINT, "Ctrl-C"),
        (["--resume"], signal.SIGTERM, "SIGTERM"),
        (["--resume", path], signal.SIGHUP, "SIGHUP"),
    ):
        script = start(*flags)
        begun = script.until("\rstep")
        script.send(number)
        done = script.end()
        assert ("Going on from step" in begun) == bool(flags), done
        assert done.returncode == 1
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("autoencoder.py:"))
        step = checkpoint.load_file(path)["step"]
        assert line.endswith(f"stopped by {name} at step {step:,}; the same command with --resume goes on from there")
        assert step > last
        last = step
    before = path.read_bytes()
    done = start().end()
    assert (done.returncode, path.read_bytes()) == (1, before)
    assert re.search(r"^autoencoder.py: error: .*unfinished.pt is a run not yet finished", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
