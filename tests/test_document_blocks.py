"""Blocks of Python and of commands in the documents run as they stand, or say why they cannot."""

from pathlib import Path

import pytest
import typer

from snellen.cli import app as command_line
from tests.cli.conftest import run
from tests.document_blocks import PAGES, ROOT, Block, blocks_of

__all__ = ["run"]

#: Blocks that are not run. A new one is a promise less that is kept: make it run, or say here that there is one more.
NOT_RUN = 93

BLOCKS = {str(page.relative_to(ROOT)): blocks_of(page) for page in PAGES}
COMMANDS = [
    pytest.param(words[1:], id=f"{page}-{' '.join(words[1:4])}")
    for page, blocks in BLOCKS.items()
    for block in blocks
    if block.is_shell
    for words in block.commands
    if words[0] == "snellen" and "audit.toml" not in words  # the file is read where the command is parsed
]


def test_every_fence_is_read():
    for page, blocks in BLOCKS.items():
        fences = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith("```")]
        assert len(fences) == 2 * len(blocks), page


def test_marks_do_not_grow():
    marked = [block for blocks in BLOCKS.values() for block in blocks if block.reason is not None]
    assert len(marked) == NOT_RUN
    for block in marked:
        assert block.is_shell or block.language == "python", f"only what could be run needs a reason: {block.text}"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_parses(arguments):
    """Its subcommand and options exist, also where a block is not run."""
    command, context, rest, name = typer.main.get_command(command_line.app), None, arguments, "snellen"
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


#: Tutorials take minutes, and are run by a test of their own.
RUN = [
    page
    for page, blocks in BLOCKS.items()
    if not page.startswith("docs/tutorials/") and any(one.is_run for one in blocks)
]


@pytest.mark.parametrize("page", RUN)
@pytest.mark.usefixtures("registry")
def test_the_blocks_of_a_page_run_in_order(page, run):
    names: dict[str, object] = {}
    for block in BLOCKS[page]:
        if block.is_run:
            _run(block, page, names, run)


def _run(block: Block, page: str, names: dict[str, object], run) -> None:
    if block.language == "python":
        exec(compile(block.text, page, "exec"), names)
        return
    for program, *arguments in block.commands:
        if program == "echo":
            *words, _, file = arguments
            Path(file).write_text(" ".join(words) + "\n", encoding="utf-8")
            continue
        assert program == "snellen", f"{page}: a block of {program} needs a reason not to be run"
        code, _, err = run(*arguments)
        assert (code, err.strip()) == (0, ""), f"{page}: snellen {' '.join(arguments)}"
