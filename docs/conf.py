"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import posixpath
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import skorch
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "python"))
warnings.filterwarnings("ignore", message=".*pkg_resources")  # Concrete's, at its import

project = "cipherfit"
author = copyright = "the cipherfit contributors"
release = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
version = release

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
# Of the gallery the pages of single programs are shown: docs/examples.md lists them.
exclude_patterns = ["_build", "_templates", "gallery/index.rst", "gallery/*/*"]
templates_path = ["_templates"]
default_role = "py:obj"
highlight_language = "none"

autodoc_typehints = "none"  # docstrings say it better, with shapes
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

#: The programs of `examples/` are run, and become pages; those in its folders don't.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/examples/\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "gallery/uses",
    "doc_module": ("cipherfit",),
    "reference_url": {"cipherfit": None},
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"cipherfit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "cipherfit"},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "friendly",
    "pygments_dark_style": "github-dark",
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "benchmarks": [], "changelog": []}

#: Documents elsewhere in the repository, and the pages that show them.
PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "benches/README.md": "benchmarks",
    "examples/fhe-benchmark/README.md": "fhe-benchmark",
}


def show_documents_of_the_repository(app: Sphinx, page: str, content: list[str]) -> None:
    """Put a document where its page names it, and lead links between documents to their pages."""
    sources = {shown: document for document, shown in PAGES.items()}
    if page in sources:
        text = (ROOT / sources[page]).read_text()
        content[0] = content[0].replace(f"<!-- {sources[page]} -->", relinked(text, sources[page]))
    elif not page.startswith(("api/generated/", "gallery/")):
        content[0] = relinked(content[0], f"docs/{page}.md")


def relinked(text: str, document: str) -> str:
    """Return the Markdown of a document of the repository with links as the site needs them."""

    def page_of(link: re.Match[str]) -> str:
        path, anchor = link[1], link[2] or ""
        if ":" in path or not path:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
        if target in PAGES:
            return f"](/{PAGES[target]}.md{anchor})"
        example = re.fullmatch(r"examples/(\w+)\.py", target)
        if example:
            return f"](/gallery/{example[1]}.rst)"
        if target.startswith("docs/"):
            return f"](/{target.removeprefix('docs/')}{anchor})"
        return f"](/../{target}{anchor})"

    return re.sub(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", page_of, text)


#: What users call of skorch's estimators; its other methods are hooks of the training.
VERBS = {"fit", "partial_fit", "predict", "predict_proba", "score", "compile", "infer"}


def skip_what_others_document(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what estimators inherit, and the hooks of skorch that they override."""
    owner = getattr(member, "fget", None) or member
    module = (getattr(owner, "__module__", None) or "").partition(".")[0]
    is_hook = what == "class" and hasattr(skorch.NeuralNet, name) and name not in VERBS
    return True if module in ("skorch", "sklearn", "torch") or is_hook else None


def setup(app: Sphinx) -> None:
    """Connect what is this site's own."""
    app.connect("autodoc-skip-member", skip_what_others_document)
    app.connect("source-read", show_documents_of_the_repository)
