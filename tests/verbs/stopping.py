"""A call that is stopped somewhere, and the files that it left."""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Stopping:
    """A listener that presses Ctrl-C after some images."""

    def __init__(self, after, task):
        self.left, self.task, self.notes = after, task, []

    def begin(self, task, total):
        pass

    def advance(self, task, amount, note=""):
        self.notes.append(note)
        if task == self.task:
            self.left -= amount
            if self.left <= 0:
                raise KeyboardInterrupt

    def finish(self, task):
        pass
