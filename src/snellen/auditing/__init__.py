"""The audit: checks run over images in shards, evidence turned into metrics and findings, findings into a report."""
