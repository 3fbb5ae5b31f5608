"""What every resumable verb stands on: folders, locks, writers, and engines."""
