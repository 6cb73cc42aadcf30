"""The notebook from top to bottom, and the scripts in one; needs nbclient and ipykernel."""

import os
from pathlib import Path

import pytest

from tests.conftest import OFFLINE, ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat, nbclient and ipykernel are not installed")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def run(notebook, folder, monkeypatch):
    """Runs a notebook in `folder`, without a network; returns what its cells print."""
    monkeypatch.delenv("MPLBACKEND")  # a notebook shows pictures
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs), outputs


def test_learn(monkeypatch):
    notebook = nbformat.read(ROOT / "learn.ipynb", 4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    first = next(cell for cell in notebook.cells if "DATA = None" in cell.source)
    if data := os.environ.get("MNIST_DIR"):
        first.source = first.source.replace("DATA = None", f"DATA = {str(Path(data).resolve())!r}")
    text, outputs = run(notebook, ROOT, monkeypatch)
    by_hand, ours = text.split("by hand ")[1].split(", the package ")
    assert by_hand == ours.split()[0]
    by_hand = text.split("by hand, epoch 1: ")[1].split()[0]
    assert f"Epoch: 1/2 - Train Loss: {by_hand}" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6


def test_scripts_in_a_notebook(monkeypatch, tmp_path):
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import torch; torch.set_num_threads(2)",
        f"%run {ROOT}/codelet7.py --epochs 0",
        f"%run {ROOT}/codelet7.py --epochs 1 --batch-size 600 --hidden 2",
        "print('threads', torch.get_num_threads())",
        (ROOT / "codelet7.py").read_text(),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    text, _ = run(notebook, tmp_path, monkeypatch)
    assert "--epochs 0 is out of range" in text
    assert "Epoch: 1/1 - Train Loss: " in text
    assert "threads 2" in text
    assert "%run codelet7.py" in text
