"""Models behind one contract: reference strings, files and callables become classifiers."""
