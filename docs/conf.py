"""Sphinx configuration."""

import jaxdecon

project = "jaxdecon"
author = "The jaxdecon developers"
copyright = "2026, the jaxdecon developers"
release = version = jaxdecon.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
html_theme = "furo"
html_static_path = ["_static"]
exclude_patterns = ["_build", "jupyter_execute", "conf.py", "**.ipynb_checkpoints"]

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_use_rtype = False
suppress_warnings = ["myst.xref_missing"]
