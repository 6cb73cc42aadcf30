"""Both scripts and the README's lines in a notebook, in a kernel of its own."""

import re

import pytest

from tests.running import ALONE, ROOT

nbclient = pytest.importorskip("nbclient", reason="needs ipykernel and nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel", reason="needs ipykernel and nbclient")

FEW_DIGITS = """
import os, signal, sys
os.chdir({folder!r})
sys.path.insert(0, {root!r})
from tests.running import draw_few
draw_few({digits!r})
"""
STATE = "print(repr((sys.excepthook, [signal.getsignal(n) for n in (2, 15, 1)], get_ipython().showtraceback)))"


class Output:
    """What a cell gave: text of standard output and of standard error, the number of pictures, and errors."""

    def __init__(self, cell):
        of = {"stdout": "", "stderr": ""}
        self.pictures, self.errors = 0, []
        for output in cell.outputs:
            if output.output_type == "stream":
                of[output.name] += output.text
            elif output.output_type == "error":
                self.errors.append(output.ename)
            elif "image/png" in output.data:
                self.pictures += 1
        self.text, self.complaints = of["stdout"], of["stderr"]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory, digits_file):
    """A function that runs cells in one kernel, one after the other; and the folder that it runs in."""
    folder = tmp_path_factory.mktemp("notebook")
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(), timeout=300, allow_errors=True, shutdown_kernel="immediate"
    )
    patch = pytest.MonkeyPatch()
    for name, value in ALONE.items():
        patch.setenv(name, value)
    patch.delenv("MPLBACKEND", raising=False)
    with client.setup_kernel():

        def run(code):
            cell = nbformat.v4.new_code_cell(code)
            client.nb.cells.append(cell)
            client.execute_cell(cell, len(client.nb.cells) - 1)
            return Output(cell)

        started = run(FEW_DIGITS.format(folder=str(folder), root=str(ROOT), digits=str(digits_file)))
        assert started.errors == [], started.complaints
        yield run, folder
    patch.undo()


@pytest.mark.parametrize("script", ["autoencoder.py", "codelet7.py"])
def test_scripts_run_and_leave_the_kernel_as_it_was(notebook, script):
    run, folder = notebook
    before = run(STATE).text
    flags = {"autoencoder.py": "--steps 5", "codelet7.py": "--epochs 1 --batch-size 1500 --hidden 1"}[script]
    done = run(f"%run {ROOT / script} {flags} --figures {script[:-3]}")
    assert done.errors == []
    assert "drawn digits" in done.text
    assert list((folder / script[:-3]).rglob("*.png"))
    assert run(STATE).text == before


@pytest.mark.parametrize("script", ["autoencoder.py", "codelet7.py"])
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--lr x", "argument --lr: 'x' is not a number above 0.* --help lists the flags"),
        ("--no-such-flag", "unrecognized arguments: --no-such-flag"),
        ("--data nowhere", "--data nowhere does not exist, and downloading MNIST failed"),
        ("--load nowhere.pt", "there is no checkpoint nowhere.pt"),
    ],
)
def test_a_mistake_is_one_line(notebook, script, flags, line):
    run, _ = notebook
    before = run(STATE).text
    done = run(f"%run {ROOT / script} {flags}")
    assert done.errors == []
    said = [line for line in done.complaints.splitlines() if line.startswith(script)]
    assert len(said) == 1, done.complaints
    assert re.match(f"{script}: error: .*{line}", said[0])
    assert "Traceback" not in done.text + done.complaints
    assert run(STATE).text == before


@pytest.mark.parametrize("script", ["autoencoder.py", "codelet7.py"])
def test_help(notebook, script):
    run, _ = notebook
    done = run(f"%run {ROOT / script} --help")
    assert done.errors == []
    assert f"usage: {script}" in done.text
    assert "--batch-size N" in done.text
    assert done.complaints == ""


STOP = """
import threading, time
def stop(before=signal.getsignal(signal.SIGINT)):
    while signal.getsignal(signal.SIGINT) == before:  # until training takes note of it
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop).start()
"""


def test_an_interrupted_cell_loses_nothing(notebook):
    run, folder = notebook
    before = run(STATE).text
    done = run(f"{STOP}%run {ROOT / 'autoencoder.py'} --figures stopped")
    assert done.errors == []
    assert re.search("^autoencoder.py: stopped by Ctrl-C at step .*--resume goes on", done.complaints, re.MULTILINE)
    assert (folder / "stopped" / "drawn" / "autoencoder" / "unfinished.pt").exists()
    assert run(STATE).text == before


@pytest.mark.parametrize(
    "lines",
    [
        "import torch, utils\nutils.show(torch.rand(1, 28, 28))",
        "import torch, autoencoder\nautoencoder.plot(autoencoder.Autoencoder(), torch.rand(2, 28, 28))",
    ],
)
def test_a_picture_is_drawn_once(notebook, lines):
    run, _ = notebook
    done = run(lines)
    assert (done.errors, done.pictures, done.complaints) == ([], 1, "")


def test_the_readmes_lines_work_as_printed(notebook):
    run, _ = notebook
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2, "one for each assignment"
    pictures = 0
    for block in blocks:
        done = run(block)
        assert done.errors == [], block + done.complaints
        pictures += done.pictures
    assert pictures > 0
