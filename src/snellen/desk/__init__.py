"""The desk: a local page on which a person looks at runs, decides about images, and hands the decisions on."""
