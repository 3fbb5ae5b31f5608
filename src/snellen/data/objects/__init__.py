"""Image sets from objects of Python: tables, data sets and lists, whichever library made them."""
