"""Why a classifier decides as it does: one method a file."""
