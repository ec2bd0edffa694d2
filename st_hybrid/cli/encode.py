"""The command that encodes ahead."""

from pathlib import Path
from typing import Any

from rich.console import Console

from st_hybrid.cli.options import DataDir, options_of
from st_hybrid.encode_ahead import encode_miracl, print_encoding


@options_of(encode_miracl, omit=("show_progress_bar",))
def encode(*, model: str, output: Path, data_dir: DataDir = None, **options: Any) -> None:
    """Encode the passages of MIRACL ahead of an evaluation.

    The engine ``ray`` shares the work among the workers of a cluster and replaces a lost worker. A killed run continues
    where it stopped. On several machines, the model, the data and the output folder need the same path everywhere.

    Args:
        model: The model: a folder or hub name.
        output: Folder for the embeddings. It may serve many models.
        data_dir: Folder in MIRACL's official layout. By default mteb's copy on the Hugging Face Hub.
    """
    print_encoding(encode_miracl(model, output, data_dir=data_dir, **options), Console())
    Console(stderr=True).print(f"The embeddings are in [bold]{output}[/].")
