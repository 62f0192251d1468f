"""The `edgekd` program: finds the command, and turns every way it can end into a message and an exit code.

Commands are loaded by name when they are used, so that `--help` and the light commands never load torch. This
is the one place that catches every exception.
"""

from __future__ import annotations

import importlib
import io
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from edgekd import __version__
from edgekd.errors import EXIT_BUG, EXIT_OK, EdgeKDError, InputError, UnknownNameError
from edgekd.report.escape import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C

# Name: module and attribute, and the line in `edgekd --help`, which is here so that help need not load the
# module.
COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "compress": ("edgekd.cli.compress:compress", "Compress a trained network into verified artifacts."),
        "check": ("edgekd.cli.check:check", "Check artifacts and runs against budgets, for CI."),
        "targets": ("edgekd.cli.targets:targets", "List the devices to compress for, or show one."),
        "search": ("edgekd.cli.search:search", "Search the widths of a network for a device."),
        "prune": ("edgekd.cli.prune:prune", "Prune a network to a plan, and nothing else."),
        "export": ("edgekd.cli.export:export", "Write a network as the files a device wants."),
        "inspect": ("edgekd.cli.inspect:inspect", "Show a network's groups, size and predicted cost."),
        "profile": ("edgekd.cli.profile:profile", "Measure an artifact on the device itself."),
        "evaluate": ("edgekd.cli.evaluate:evaluate", "Measure an artifact's accuracy in its runtime."),
        "recipe": ("edgekd.cli.recipe:recipe", "Show every setting of a run, or check a recipe."),
        "doctor": ("edgekd.cli.doctor:doctor", "Say what this machine can do, and what brings the rest."),
        "watch": ("edgekd.cli.watch:watch", "Follow a running or finished run."),
        "completion": ("edgekd.cli.completion:completion", "Print what a shell needs to complete commands."),
        "report": ("edgekd.cli.report:report", "Print the report of a run."),
    }
)


class LazyGroup(click.Group):
    """A group whose commands are `COMMANDS`, each imported when it is first used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command of that name; `None` if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names.

        Raises:
            UnknownNameError: There is none of that name.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("edgekd COMMAND", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the completions of a command's name without importing any."""
        from click.shell_completion import CompletionItem

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name][1]) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  edgekd compress model.pt2 --data images/ --target jetson-tx2 --max-size 250KB",
)
@click.version_option(__version__, prog_name="edgekd")
def edgekd() -> None:
    """Compress trained PyTorch networks into verified edge artifacts.

    Exit codes: 0 done; 1 it ran and the answer is no; 2 the input is wrong; 3 this machine cannot do it;
    4 a stage failed; 70 a bug.
    """


def main() -> None:
    """Run the program with the arguments it was started with, and exit."""
    # A terminal that cannot show a character gets its code instead of an error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing but the exit of a closed pipe is raised."""
    try:
        outcome = edgekd.main(args=list(arguments), prog_name="edgekd", standalone_mode=False)
    except EdgeKDError as error:
        click.echo(describe(error), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return InputError.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except click.Abort as error:
        # click makes both of them an Abort, but a file that ends too early is a bug of ours, not the user's
        # wish.
        if isinstance(error.__cause__, EOFError):
            traceback.print_exc()
            return EXIT_BUG
        return EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001  # the boundary: whatever is not ours is a bug, and is shown as one
        traceback.print_exc()
        return EXIT_BUG
    # What click returns is the code given to `Context.exit`, or what the command returned, which is nothing.
    return outcome if isinstance(outcome, int) else EXIT_OK


def describe(error: EdgeKDError) -> str:
    """Return an error's place, what was expected, what was found and what to do, a line each."""
    return "\n".join(
        (
            f"error: {printable(error.where)}",
            f"  expected: {printable(error.expected)}",
            f"  found:    {printable(error.found)}",
            f"  hint:     {printable(error.hint)}",
        )
    )
