"""Search for the cameras from which a classifier fails: mixtures of viewpoints, and how they are moved by queries."""
