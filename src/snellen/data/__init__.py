"""Reading image sets: references, one hardened decoder, labels, and batches of prepared images."""
