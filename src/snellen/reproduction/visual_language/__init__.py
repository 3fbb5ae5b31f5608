"""System 3: whether the place, the region and the sentence of VALE are those of the object."""
