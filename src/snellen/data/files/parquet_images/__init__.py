"""Parquet files that hold image files in a column, as ``datasets`` writes them, read a row group at a time."""
