"""The desk: a local page on which a person sees runs, decides about images, and hands the decisions on."""
