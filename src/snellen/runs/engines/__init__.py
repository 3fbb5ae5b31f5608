"""Engines: what runs pieces of work somewhere, and knows nothing of what the work is."""
