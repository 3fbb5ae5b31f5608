"""Image sets read from files: folders, manifests, archives, shards and slides, through one hardened decoder."""
