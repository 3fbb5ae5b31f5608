"""What can be proven of a classifier's decisions."""
