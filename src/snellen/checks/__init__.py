"""The protocol of an audit's checks: evidence in, figures, hypotheses and findings out."""
