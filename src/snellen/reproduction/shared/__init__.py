"""What several experiments share: small networks, worlds, and ways of judging images and attacks."""
