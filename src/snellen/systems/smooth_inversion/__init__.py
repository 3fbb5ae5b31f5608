"""A hidden trigger, looked for in a classifier: changes of one image that carry over to others."""
