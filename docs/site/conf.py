"""The docs site: the pages of docs/, the READMEs of the folders where they lie, and the API from docstrings."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from homeostat import __version__  # noqa: E402

project, author, release = "homeostat", "the authors of homeostat", __version__
project_copyright = "the authors of homeostat, Apache-2.0"
extensions = ["myst_nb", "docs.site.pages", "docs.site.kernels"]

# The source is the repository itself: a README is a page where it lies, and its links are those that it has there.
root_doc = "README"
include_patterns = [
    "docs/*.md",
    "docs/api/*.md",
    "docs/decisions/*.md",
    "*/README.md",
    "*/*/README.md",
    "*.md",
    "examples/drug_study.py",
    "examples/house.py",
    "examples/warfarin.py",
    "docs/gallery.py",
    "docs/one_long_record.py",
    "docs/population_study.py",
    "docs/shelf.py",
]
exclude_patterns = [".*", "runs", "build", "dist", "tests", "docs/site"]
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}

myst_enable_extensions = ["colon_fence", "fieldlist", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # s for a cell: three times what the longest takes, where others use the machine too
nb_execution_in_temp = True  # what a notebook writes is nobody's
nb_merge_streams = True
nb_number_source_lines = False

smartquotes = False  # `{"ka": 0.6}` in a docstring is typed as it stands

html_theme = "furo"
html_title = f"homeostat {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["top"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False}
python_display_short_literal_types = True
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
add_module_names = False
pygments_style, pygments_dark_style = "friendly", "github-dark"
nitpicky = False  # types of torch and numpy are named in signatures, and are not ours to link
linkcheck_timeout, linkcheck_retries = 10, 2
