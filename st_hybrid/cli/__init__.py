"""The command line. The module of a command is imported when the command is called, so that ``--help`` is quick."""

import os
import sys

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

import st_hybrid

app = App(
    name="st-hybrid",
    help="Train and measure models for monolingual, cross-lingual and mixed-language retrieval.",
    version=f"st-hybrid {st_hybrid.__version__}",
    help_format="rst",
    default_parameter=Parameter(negative=()),
)
data = App(name="data", help="Make parallel rows from your data, check them and clean them.")
study = App(name="study", help="Train and evaluate grids of models, methods, data and seeds.")
imports = App(name="import", help="Read data in a known layout and write parallel rows.")

#: The group, the function and the summary of each command; the summary is the first line of the function's docstring.
COMMANDS = (
    (app, "train:quickstart", "Train small encoders from scratch, without a network, and compare the samplers."),
    (app, "train:train", "Fine-tune a model on parallel rows, with hybrid batches or a baseline."),
    (
        app,
        "train:center",
        "Estimate what vectors say of their language, to take it out of them without training.",
    ),
    (app, "evaluate:evaluate", "Evaluate models on XQuAD-R, MLQA-R, MIRACL or your own data."),
    (app, "evaluate:browse", "Write a page that shows what two models find for each question."),
    (app, "probe:probe", "Measure, without queries, whether a mixed-language corpus needs centring or training."),
    (app, "encode:encode", "Encode the passages of MIRACL ahead of an evaluation."),
    (study, "study:run", "Train and evaluate the cells of a grid that its folder lacks."),
    (study, "study:export", "Write the results of a study for other tools: runs of TREC, or experiments of mteb."),
    (study, "study:status", "Show how far the cells of a study are, and the time left."),
    (
        app,
        "study:report",
        "Write the report of a study: contrasts, tables and figures, as a page and in Markdown.",
    ),
    (
        imports,
        "data:rows",
        "Read rows or columns per language, and the layouts of FlagEmbedding, Tevatron, WebFAQ and SWIM-IR.",
    ),
    (imports, "data:squad", "Read question answering in SQuAD's format, in several languages."),
    (imports, "data:bitext", "Read sentences and their translations."),
    (imports, "data:mmarco", "Read mMARCO, the translations of MS MARCO."),
    (data, "data:translate", "Translate rows in one language into parallel rows."),
    (data, "data:check", "Check parallel rows before training on them."),
    (data, "data:decontaminate", "Remove rows that share text with an evaluation set, and their translations."),
    (data, "data:mine", "Add hard negatives to parallel rows."),
)
for group, function, summary in COMMANDS:
    group.command(f"st_hybrid.cli.{function}", name=function.partition(":")[2], help=summary)
data.command(imports)
app.command(study)
app.command(data)


def main() -> None:
    """Run a command. An error that the user can mend is printed in one line."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("ST_HYBRID_DEBUG"):
            raise
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
