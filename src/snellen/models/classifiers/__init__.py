"""Reference strings, files and callables become classifiers."""
