"""Views of the page, one module each."""
