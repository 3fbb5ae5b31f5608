def full(seed, progress):
    raise NotImplementedError
