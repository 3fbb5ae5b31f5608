"""Language models: questions in words, replies in words or in a given form."""
