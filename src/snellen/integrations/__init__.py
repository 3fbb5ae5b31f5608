"""Snellen inside other tools: training loops, experiment trackers, pytest.

Each file is one tool. The tool is imported when its file is used, and is no dependency of Snellen.
"""
