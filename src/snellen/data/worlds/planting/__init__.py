"""Defects that are planted in image sets, with the truth about them kept beside the images."""
