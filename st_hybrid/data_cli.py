"""The data commands: from what people have to parallel rows."""

from __future__ import annotations

import typer

from st_hybrid import trust_cli

# As in st_hybrid.cli, the commands import the library when they run.

app = typer.Typer(help="Make parallel rows of the data that you have.", no_args_is_help=True)
app.command("check")(trust_cli.check)
app.command("decontaminate")(trust_cli.decontaminate)
app.command("mine")(trust_cli.mine)
