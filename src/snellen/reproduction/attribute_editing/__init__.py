"""System 27: what edits of one attribute cost classifiers, on scenes with every edit known."""
