"""The public functions: attack, explain, certify, scan, shift, generate, train, write_images."""
