"""One TOML file per published system; read by :mod:`snellen.system`."""
