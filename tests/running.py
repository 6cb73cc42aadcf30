"""Runs the scripts as a user does, where neither MNIST nor a network is to be had.

`run_script` and `interrupt_script` start Python anew. Importing PyTorch takes seconds, so that most tests use `Forked`:
a process that is forked from one in which it has been imported, and in which all else happens as it does to a user,
with real signals, pipes, terminals and disks.
"""

import contextlib
import fcntl
import multiprocessing
import os
import pty
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
ALONE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
PATIENCE = 300  # seconds after which a process is taken to hang


def start_script(script, *arguments, cwd, **environment):
    """Starts a script in the folder `cwd`; returns its `subprocess.Popen`, whose pipes carry text."""
    return subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **ALONE, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )


def run_script(script, *arguments, cwd, **environment):
    """The `subprocess.CompletedProcess` of a script that ran in the folder `cwd`."""
    with start_script(script, *arguments, cwd=cwd, **environment) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def interrupt_script(script, *arguments, cwd, at):
    """Sends Ctrl-C when a line starts with `at`; returns the exit status and the lines of standard error."""
    with start_script(script, *arguments, cwd=cwd) as process:
        for line in process.stdout:
            if line.startswith(at):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors.splitlines()


@contextlib.contextmanager
def small_disk(folder, size):
    """Makes `folder` a disk of its own, with room for `size` bytes; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "small_disk", str(folder)]
    if not shutil.which("mount") or (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
        why = done.stderr.strip() if shutil.which("mount") else "no mount"
        pytest.skip(f"a small disk cannot be mounted here ({why})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def unprivileged():
    """Gives a folder of a user who may not read everything: root does not stay root meanwhile."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        if user == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def heed_signals():
    """What a shell's `&` or `nohup` around the tests makes them ignore, their children would ignore too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Forked:
    """A script that runs in a forked process, on few digits.

    Args:
        script, arguments, cwd: as of `run_script`.
        digits: .npz file of the 3,000 "images" and "labels" that it draws, of which 1,000 also serve as test set;
            None where it draws none.
        terminal: whether its output is that of a terminal of 50 columns, else a pipe's.
        before: picklable function that is called in the process before the script begins.
    """

    def __init__(self, script, *arguments, cwd, digits=None, terminal=False, before=None):
        context = multiprocessing.get_context("forkserver")
        # torch._dynamo is what PyTorch's optimizers import when they are first used.
        slow = ["torch", "torch._dynamo", "torchvision", "matplotlib.figure", "matplotlib.pyplot", "mnist"]
        context.set_forkserver_preload(slow)
        self.output, writer = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 50, 0, 0))
        self.errors, path = tempfile.mkstemp()
        Path(path).unlink()
        pipe, end = context.Pipe()
        self.process = context.Process(
            target=_run, args=(end, ROOT / script, [str(argument) for argument in arguments], cwd, digits, before)
        )
        self.process.start()
        for descriptor in (writer, self.errors):
            multiprocessing.reduction.send_handle(pipe, descriptor, self.process.pid)
        os.close(writer)
        self.text, self.done = "", None

    def until(self, text):
        """Reads its output until that holds `text`; returns all of it so far."""
        while text not in self.text:
            try:
                new = os.read(self.output, 65536)
            except OSError:  # of a terminal that nobody writes to any more
                new = b""
            if not new:
                break
            self.text += new.decode(errors="replace")
        return self.text

    def send(self, number):
        """Sends a signal."""
        os.kill(self.process.pid, number)

    def close(self):
        """Stops reading its output, as `head` does."""
        os.close(self.output)
        self.output = None

    def end(self):
        """Waits for its end; returns a `subprocess.CompletedProcess`."""
        if self.done:
            return self.done
        killer = threading.Timer(PATIENCE, self.process.kill)
        killer.start()
        if self.output is not None:
            self.until("all of it, which this will not be in")
            self.close()
        self.process.join()
        killer.cancel()
        errors = os.pread(self.errors, 1 << 20, 0).decode()
        os.close(self.errors)
        self.done = subprocess.CompletedProcess([], self.process.exitcode, self.text, errors)
        return self.done


def _run(end, script, arguments, cwd, drawn, before):
    """What a forked process does."""
    for number in (1, 2):
        os.dup2(multiprocessing.reduction.recv_handle(end), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", 1, closefd=False)
    heed_signals()
    os.environ.update(ALONE)
    os.environ.pop("COLUMNS", None)  # which pytest sets
    os.chdir(cwd)
    if before:
        before()
    sys.argv = [str(script), *arguments]
    if drawn:
        draw_few(drawn)
    runpy.run_path(str(script), run_name="__main__")


def draw_few(path):
    """Makes the scripts draw the few digits in an .npz file, and measure and plot fewer."""
    import digits
    import latent

    drawn, few = np.load(path), {60_000: slice(None), 10_000: slice(1_000)}
    digits.draw_digits = lambda count, seed: (drawn["images"][few[count]], drawn["labels"][few[count]])
    latent.PLOTTED, latent.RANDOM = 2_000, 300
