"""VALE: an attribution, the object at its peak, and a sentence about it."""
