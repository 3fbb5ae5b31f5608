"""After NaTra: training against natural changes found in the latent space of a generator (arXiv 2105.04070)."""
