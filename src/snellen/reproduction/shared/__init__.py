"""What several experiments share: small networks, worlds and the rules of a record."""
