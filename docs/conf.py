"""How the documentation is built: `make docs`, which is `sphinx-build -W docs build/docs`."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent / "_sphinx"))

import notebooks  # noqa: E402 - found by the path above

import regard  # noqa: E402 - the source or the installed one

project = "regard"
author = "the regard contributors"
project_copyright = author
version = release = regard.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "myst_nb",  # Markdown, and the tutorials as notebooks
    "docstrings",
    "rooms",
    "names",
    "floors_picture",
    "command_help",
    "notebooks",
    "formulas",
]
TUTORIALS = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
exclude_patterns = [
    "conf.py",
    "pictures.py",
    "_sphinx",
    "tutorials/README.md",
    "tutorials/[!0-9]*.py" if TUTORIALS else "",
]
if importlib.util.find_spec("regard.studies") is None:
    exclude_patterns.append("reference/studies.rst")

# Links. A name that leads nowhere is an error; names of other libraries have no pages here.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!regard\b).*"), ("py:.*", r"regard(\.\w+)*\._\w+.*")]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]

# The tutorials are percent files. `make docs` runs them on the budget that is named here, again when they or the
# package change; with off, which is what a plain call of Sphinx does, their pages say how to get what they print.
tutorials = os.environ.get("REGARD_DOCS_TUTORIALS", "off")
nb_custom_formats = {".py": "notebooks.read"}
nb_execution_mode = "off" if tutorials == "off" else "cache"
nb_execution_cache_path = str(
    ROOT / "build" / "docs-notebooks" / f"{notebooks.digest(Path(regard.__file__).parent)}-{tutorials}"
)
if tutorials != "off":
    notebooks.prepare_kernels(ROOT / "build" / "docs-notebooks" / "ipython")
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

# The reference.
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
rst_prolog = ".. role:: literal(code)\n"

# The pages: nothing from the network, and a search that works from disk.
html_theme = "furo"
html_title = f"regard {release}"
html_static_path = ["_static"]
html_css_files = ["regard.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # a browser refuses to read pages from disk for it
html_math_renderer = "mathml"
pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5a99", "color-brand-content": "#1f5a99"},
    "dark_css_variables": {"color-brand-primary": "#8ab8ec", "color-brand-content": "#8ab8ec"},
}
