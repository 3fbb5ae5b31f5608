"""Diffusion models behind one contract: any diffusers folder, and one batched sampler with its hooks."""
