def requirements() -> None:
    """x"""
