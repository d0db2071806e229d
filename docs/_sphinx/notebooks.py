"""Tutorials as notebooks: each `examples/NN_*.py` also becomes an `.ipynb` that its page offers."""

import hashlib
import os
from pathlib import Path
from typing import Any

import jupytext
from docutils import nodes
from sphinx.config import ENUM

OUTPUTS = {
    "off": "What its cells print and draw is not on this page: these pages were built without running the tutorials. "
    "Run it, or build the pages with `make docs`, which runs them on a small budget.",
    "small": "What the cells below print and draw was made with these pages on a small budget: what trains for minutes "
    "trains briefly here, and reaches less. `make docs TUTORIALS=full` gives it all its time.",
    "full": "What the cells below print and draw was made with these pages.",
}
"""What a tutorial's page says of its outputs, for each way of building it."""


def digest(package: Path) -> str:
    """Name a state of the package, so that what it printed in another one is not shown for it."""
    made = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        made.update(file.read_bytes())
    return made.hexdigest()[:12]


def prepare_kernels(folder: Path) -> None:
    """Let kernels draw into the page and speak of errors alone, whatever the reader's own settings of IPython are."""
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n", "utf-8")
    os.environ["IPYTHONDIR"] = str(folder)
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"


def read(text: str) -> Any:
    """Read a percent file as a notebook of Python."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    notebook.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "python3"})
    return notebook


def _offer(app: Any, doctree: nodes.document, page: str) -> None:
    """Put links to the notebook and the script below the title of a tutorial."""
    if not page.startswith("tutorials/"):
        return
    name = page.partition("/")[2]
    line = nodes.paragraph(classes=["offer"])
    line += [
        nodes.Text("To run it: "),
        nodes.reference("", f"{name}.ipynb", refuri=f"../notebooks/{name}.ipynb", internal=True),
        nodes.Text(" · "),
        nodes.reference("", f"examples/{name}.py", refuri=f"../notebooks/{name}.py", internal=True),
    ]
    title = next(iter(doctree.findall(nodes.title)), None)
    if title is not None:
        place = title.parent.index(title) + 1
        title.parent.insert(place, [line, _about_outputs(app.config.tutorials)])


def _about_outputs(way: str) -> nodes.paragraph:
    """Say where the outputs of a tutorial come from, or how to get them."""
    said = nodes.paragraph(classes=["outputs"])
    for number, part in enumerate(OUTPUTS[way].split("`")):
        said += nodes.literal(part, part) if number % 2 else nodes.Text(part)
    return said


def _write(app: Any, error: Exception | None) -> None:
    """Write the files that the pages offer."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "notebooks"
    folder.mkdir(exist_ok=True)
    for page in sorted(app.env.found_docs):
        if page.startswith("tutorials/"):
            source = Path(app.env.doc2path(page))
            text = source.read_text("utf-8")
            (folder / source.name).write_text(text, "utf-8")
            (folder / f"{source.stem}.ipynb").write_text(jupytext.writes(read(text), fmt="ipynb"), "utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.add_config_value("tutorials", "off", "env", ENUM(*OUTPUTS))
    app.connect("doctree-resolved", _offer)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
