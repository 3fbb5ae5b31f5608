"""System 22, DiffSeg30k: which regions of an image were edited, and by which model."""
