"""Runs the scripts as a user does, where neither MNIST nor a network is to be had."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_NETWORK = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def run_script(script, *arguments, cwd):
    """The `subprocess.CompletedProcess` of a script that ran in the folder `cwd`."""
    command = [sys.executable, ROOT / script, *arguments]
    return subprocess.run(command, cwd=cwd, env=NO_NETWORK, capture_output=True, text=True)


def interrupt_script(script, *arguments, cwd, at):
    """Sends Ctrl-C when a line starts with `at`; returns the exit status and the lines of standard error."""
    command = [sys.executable, ROOT / script, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=cwd, env=NO_NETWORK, **pipes) as process:
        for line in process.stdout:
            if line.startswith(at):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors.splitlines()
