"""System 27: what edits of one attribute cost classifiers, on scenes of which every edit is known."""
