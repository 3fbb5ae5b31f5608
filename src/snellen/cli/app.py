"""The ``snellen`` command: its subcommands, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, TextIO

import typer
from typer.core import TyperGroup

from snellen.cli.attack import attack
from snellen.cli.audit import audit
from snellen.cli.certify import certify
from snellen.cli.cite import cite
from snellen.cli.compare import compare
from snellen.cli.evaluate import evaluate
from snellen.cli.explain import explain, unused_options
from snellen.cli.forget import forget
from snellen.cli.generate import generate
from snellen.cli.init import init
from snellen.cli.label import label
from snellen.cli.method_commands import method_commands
from snellen.cli.monitor import monitor
from snellen.cli.option_groups import with_groups
from snellen.cli.optotypes import optotypes
from snellen.cli.report import report
from snellen.cli.reproduce import reproduce
from snellen.cli.requirements import requirements
from snellen.cli.sample_size import sample_size
from snellen.cli.scan import scan
from snellen.cli.search import search
from snellen.cli.shift import shift
from snellen.cli.standard_output import narrow_output, outlive_closed_pipe
from snellen.cli.synthesize import synthesize
from snellen.cli.systems import systems
from snellen.cli.text import harmless
from snellen.cli.train import train
from snellen.cli.treat import treat
from snellen.cli.ui import ui
from snellen.core.errors import SnellenError
from snellen.core.process_start import begin_start, end_start
from snellen.core.unwritable import of_system, refused, unwritable
from snellen.version import __version__

#: Documented in the README; 70 is EX_SOFTWARE of sysexits.h.
EXIT_ERROR, EXIT_INTERNAL = 2, 70

#: Groups of the verbs, in the order of the work.
AUDIT, EXPLAIN, TREAT, PROVE = "Audit: where it fails", "Explain: why", "Treat: mend it", "Prove: how far it holds"
DATA, SYSTEMS = "Make images", "Published systems"
PANELS = (AUDIT, EXPLAIN, TREAT, PROVE, DATA, SYSTEMS)


#: Option of an earlier checkout → the one of today, which its error names in place of similar words.
EARLIER_OPTIONS = {"--tune": "--val"}


class _Workflow(TyperGroup):
    """Lists the verbs in the order of the work, and names today's option where an earlier one is given."""

    def invoke(self, ctx: object) -> object:
        """As typer does it, with another suggestion."""
        try:
            return super().invoke(ctx)  # type: ignore[arg-type]
        except Exception as error:
            now = EARLIER_OPTIONS.get(getattr(error, "option_name", ""))
            command = getattr(getattr(error, "ctx", None), "command", None)
            if now is not None and any(now in one.opts for one in getattr(command, "params", ())):
                error.possibilities = [now]  # type: ignore[attr-defined]
            raise

    def list_commands(self, ctx: object) -> list[str]:
        def place(name: str) -> int:
            return PANELS.index(str(getattr(self.commands[name], "rich_help_panel", AUDIT)))

        return sorted(super().list_commands(ctx), key=place)  # type: ignore[arg-type]


app = typer.Typer(
    name="snellen",
    cls=_Workflow,
    help="Examine an image classifier and treat what is found.",
    epilog="Exit codes: 0 done, 1 a claim does not hold, 2 wrong input, 3 a requirement not met, 70 a fault in "
    "Snellen, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=AUDIT)(audit)
app.command(rich_help_panel=AUDIT)(with_groups(init))
app.command(rich_help_panel=AUDIT)(compare)
app.command(rich_help_panel=AUDIT)(report)
app.command(rich_help_panel=AUDIT)(requirements)
app.command(rich_help_panel=AUDIT)(monitor)
app.command(rich_help_panel=AUDIT)(sample_size)
app.command(rich_help_panel=AUDIT)(ui)
app.add_typer(method_commands("scans", scan, "scan"), name="scan", rich_help_panel=AUDIT)
app.add_typer(
    method_commands("explanations", explain, "explain", unused_options), name="explain", rich_help_panel=EXPLAIN
)
app.command(rich_help_panel=TREAT)(with_groups(treat))
app.add_typer(method_commands("recipes", train, "train"), name="train", rich_help_panel=TREAT)
app.add_typer(search, name="search", rich_help_panel=TREAT)
app.add_typer(method_commands("forgetting", forget, "forget"), name="forget", rich_help_panel=TREAT)
app.add_typer(method_commands("attacks", attack, "attack"), name="attack", rich_help_panel=PROVE)
app.command(rich_help_panel=PROVE)(with_groups(evaluate))
app.add_typer(method_commands("certificates", certify, "certify"), name="certify", rich_help_panel=PROVE)
app.add_typer(method_commands("shifts", shift, "shift"), name="shift", rich_help_panel=DATA)
app.add_typer(method_commands("generation", generate, "generate"), name="generate", rich_help_panel=DATA)
app.add_typer(method_commands("synthesis", synthesize, "synthesize"), name="synthesize", rich_help_panel=DATA)
app.command(rich_help_panel=DATA)(label)
app.add_typer(optotypes, name="optotypes", rich_help_panel=DATA)
app.command(rich_help_panel=SYSTEMS)(systems)
app.command(rich_help_panel=SYSTEMS)(reproduce)
app.command(rich_help_panel=SYSTEMS)(cite)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Show the version and stop.", is_eager=True)] = False,
) -> None:
    """Examine an image classifier and treat what is found."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of Snellen in one line, as errors are; those of other packages as Python writes them."""
    if category.__module__.startswith("snellen.") and file is None:
        typer.secho(f"warning: {harmless(str(message))}", err=True, fg="yellow")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def main() -> None:
    """Run the command line; never returns. Wrong options exit with 2 and Ctrl-C with 130 by typer itself."""
    # Threads of torch that wait by spinning starve the one that works as soon as a core is shared: on a busy machine
    # that made an audit four times slower. Read when torch is imported, so it is set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Those of numpy's linear algebra spin as well, and know no such policy: with two of them beside busy programs, the
    # eigenvalues of 2,000 rows took 29 s, and 2 s with one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    begin_start()
    outlive_closed_pipe()
    narrow_output()
    warnings.showwarning = _shown
    try:
        app()
    except SnellenError as error:
        typer.secho(f"error: {harmless(str(error))}", err=True, fg="red")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        met = of_system(error)
        if met is not None and refused(met):  # by any command, also where what it prints is sent
            message = unwritable(met, Path("the output"))
            typer.secho(f"error: {harmless(str(message))}", err=True, fg="red")
            sys.exit(EXIT_ERROR)
        sys.excepthook(*sys.exc_info())
        typer.secho("this is a fault in Snellen; please report it with the lines above", err=True, fg="red")
        sys.exit(EXIT_INTERNAL)
    finally:
        end_start()
