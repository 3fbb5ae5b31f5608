"""Procedural worlds in which every factor is known: scenes, solids, slides, textures, and views of meshes."""
