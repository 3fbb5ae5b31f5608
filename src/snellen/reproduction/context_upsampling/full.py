"""stub for now"""


def full(seed, progress):
    raise NotImplementedError
