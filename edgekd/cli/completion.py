"""`edgekd completion`: what a shell needs to complete the names of commands and options."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog="\b\nExample:\n  edgekd completion bash")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete `edgekd`.

    \b
    bash: edgekd completion bash >> ~/.bashrc
    zsh:  edgekd completion zsh >> ~/.zshrc
    fish: edgekd completion fish > ~/.config/fish/completions/edgekd.fish
    """  # noqa: D301  # \b is click's mark for lines that stay as they are
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows all of _SHELLS"
    # The script calls `edgekd` again, which answers before any command is loaded.
    click.echo(kind(context.find_root().command, {}, "edgekd", "_EDGEKD_COMPLETE").source())
