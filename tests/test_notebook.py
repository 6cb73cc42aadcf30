"""The notebook from top to bottom, and the scripts in one; needs nbclient and ipykernel."""

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip(
    "nbformat", reason="nbformat, nbclient and ipykernel are not installed"
)
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def test_learn_and_the_scripts_after_it(monkeypatch, tmp_path):
    notebook = nbformat.read(ROOT / "learn.ipynb", 4)
    assert not any(
        cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells
    )
    first = next(cell for cell in notebook.cells if "DATA = None" in cell.source)
    if data := os.environ.get("MNIST_DIR"):
        first.source = first.source.replace(
            "DATA = None", f"DATA = {str(Path(data).resolve())!r}"
        )
    more = [
        "%run codelet7.py --epochs 0",
        f"torch.set_num_threads(2)\n%run codelet7.py --epochs 1 --batch-size 600 --hidden 2 --figures {tmp_path}",
        "print('threads', torch.get_num_threads())",
        (ROOT / "codelet7.py").read_text(),
    ]
    notebook.cells += map(nbformat.v4.new_code_cell, more)
    notebook.cells[-4].metadata["tags"] = ["raises-exception"]
    monkeypatch.delenv("MPLBACKEND")  # a notebook shows pictures
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    outputs = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    text = "".join(output.get("text", "") for output in outputs)
    by_hand, ours = text.split("by hand ")[1].split(", the package ")
    assert by_hand == ours.split()[0]
    by_hand = text.split("by hand, epoch 1: ")[1].split()[0]
    assert f"Epoch: 1/2 - Train Loss: {by_hand}" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6
    for words in (
        "--epochs 0 is out of range",
        "Epoch: 1/1 - Train Loss: ",
        "threads 2",
        "with: %run codelet7.py",
    ):
        assert words in text
