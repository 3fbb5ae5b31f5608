"""Two audits side by side, and gates: what is required, what was lost, what improved."""
