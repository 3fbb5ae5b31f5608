"""The vectors of a frozen encoder for every image of a set, made once and kept."""
