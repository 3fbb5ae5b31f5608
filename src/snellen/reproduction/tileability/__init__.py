"""The small experiment of system 21."""
