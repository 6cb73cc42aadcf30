"""The notebook from top to bottom, and the scripts in one; needs nbclient and
ipykernel."""

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbclient and ipykernel are missing")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.slow


def run(notebook, folder):
    """Runs a notebook's cells; returns what they printed, and how many pictures."""
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    return text, len(pictures)


def new_notebook(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])


@pytest.fixture(autouse=True)
def notebook_backend(monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # a notebook shows pictures


def test_learn():
    notebook = nbformat.read(ROOT / "learn.ipynb", 4)
    text, pictures = run(notebook, ROOT)
    assert "their sum        1.1490" in text
    by_hand = text.split("by hand: ")[1].split()[0]
    assert f"Epoch: 1/1 - Train Loss: {by_hand}" in text
    assert "7s among the   100 most active images: 92%" in text
    assert pictures >= 10


def test_the_committed_outputs_are_there():
    path = ROOT / "learn.ipynb"
    assert path.stat().st_size < 1.5e6
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum(bool(cell.outputs) for cell in cells) > 15


def test_learn_alone_says_what_it_needs(tmp_path):
    first = next(
        cell
        for cell in nbformat.read(ROOT / "learn.ipynb", 4).cells
        if cell.cell_type == "code"
    )
    with pytest.raises(
        nbclient.exceptions.CellExecutionError, match="in the folder of"
    ):
        run(new_notebook(first.source), tmp_path)


def test_scripts_in_a_notebook(few, tmp_path):
    flags = f"--data {few} --epochs 1 --hidden 2 --figures {tmp_path}"
    text, _ = run(
        new_notebook(
            f"import torch\ntorch.set_num_threads(2)\n%run codelet7.py {flags}",
            "print('threads', torch.get_num_threads())",
            f"import sys\n!{{sys.executable}} codelet7.py {flags} --seed 1",
            "import codelet7\nprint('seed', codelet7.read_flags()[0].seed)",
            (ROOT / "codelet7.py").read_text(),
        ),
        ROOT,
    )
    assert text.count("Epoch: 1/1 - Train Loss: ") == 2
    assert "threads 2" in text
    assert "seed 0" in text
    assert "with: %run codelet7.py" in text
