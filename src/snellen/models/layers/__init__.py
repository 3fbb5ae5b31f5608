"""The layers inside a network: reading, changing, and cutting a network in two."""
