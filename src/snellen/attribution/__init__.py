"""What parts of an image a classifier's score rests on: maps of contributions, and how far to believe them."""
