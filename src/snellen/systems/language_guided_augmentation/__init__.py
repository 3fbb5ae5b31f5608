"""ASPIRE: the objects and backgrounds that a classifier leans on, found by edits that flip its decisions."""
