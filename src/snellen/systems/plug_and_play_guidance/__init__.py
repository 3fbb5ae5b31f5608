"""PPAP: an ordinary classifier steers a generator through small experts, one for each range of noise."""
