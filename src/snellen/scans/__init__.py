"""Scans: look for something planted, wrong or unwanted. One method, one file."""
