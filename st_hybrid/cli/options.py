"""Options of commands: those that many share, and those made from the library's signatures and docstrings."""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter, Token
from docstring_parser import parse
from rich.console import Console

from st_hybrid.dtypes import Dtype

Command = Callable[..., Any]
DataDir = Annotated[Path | None, Parameter(env_var="ST_HYBRID_DATA")]
Data = Annotated[str, Parameter(help="Parallel rows: a file, a folder or a hub name.")]
Split = Annotated[str, Parameter(help="Split of the data set.")]
Column = Annotated[list[str] | None, Parameter(help="Map a column: ``query=question``. Repeat it for more columns.")]
Output = Annotated[Path, Parameter(help="File to write: .jsonl (also .gz, .zst), .parquet; without a suffix a folder.")]
DtypeOption = Annotated[
    Dtype | None, Parameter(help="Type to compute in; by default that of the model's weights, usually float32.")
]
#: What the library's functions take as an object and a command as the name to load it by.
_LOADED = {"SentenceTransformer": str, "CrossEncoder": str, "Encoder": str}


def options_of(function: Command, *, omit: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command the arguments of a library function as options, with their defaults and documentation.

    The command declares its own options and gets the others in its ``**options``, to pass them on.
    """
    documented = {
        part.arg_name: re.sub(r":\w+:`~?(?:st_hybrid\.)?([^`]+)`", r"``\1``", part.description or "")
        for part in parse(function.__doc__ or "").params
    }

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [part for part in inspect.signature(command).parameters.values() if part.kind is not part.VAR_KEYWORD]
        parameters = [part.replace(annotation=hints[part.name]) for part in own]
        for name, part in inspect.signature(function).parameters.items():
            if name in hints or name in omit or part.kind is part.VAR_KEYWORD:
                continue
            hint = part.annotation
            if isinstance(hint, str):
                hint = eval(hint, {**function.__globals__, **_LOADED})
            # What is on by default can be switched off.
            optional = type(None) in get_args(hint) and part.default not in (None, part.empty)
            can_be_off = optional or part.default is True
            negative = f"--no-{name.replace('_', '-')}" if can_be_off else ()
            converter = _split if name == "languages" else None
            parameter = Parameter(help=documented[name], negative=negative, converter=converter)
            parameters.append(part.replace(annotation=Annotated[hint, parameter], kind=part.KEYWORD_ONLY))

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {part.name: part.annotation for part in parameters}
        return command

    return decorate


def mapped(given: Sequence[str] | None, example: str = "query=question") -> dict[str, str]:
    """The pairs ``a=b`` of an option that may be repeated, as a dictionary."""
    pairs: dict[str, str] = {}
    for one in given or ():
        name, _, value = one.partition("=")
        if not name or not value:
            raise ValueError(f"{one!r} must be a pair such as {example}.")
        if name in pairs:
            raise ValueError(f"{name} is given more than once.")
        pairs[name] = value
    return pairs


def _split(hint: Any, tokens: Sequence[Token]) -> list[str]:
    return listed([token.value for token in tokens]) or []


def listed(given: Sequence[str] | None) -> list[str] | None:
    """The values of an option that may be repeated, or hold commas."""
    return None if given is None else [part.strip() for one in given for part in one.split(",") if part.strip()]


Commas = Annotated[list[str], Parameter(converter=_split)]


def opened(data: str, split: str, column: Sequence[str] | None, **options: Any) -> Any:
    """Open the rows of a command, a ``Dataset``, and print what was left out."""
    from st_hybrid.data import open_rows  # here, because it imports torch

    options = {"check_languages": False, "show_progress_bar": True, **options}
    rows, report = open_rows(data, split=split, columns=mapped(column), **options)
    if report.dropped:
        Console(stderr=True).print(report)
    return rows
