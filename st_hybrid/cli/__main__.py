"""``python -m st_hybrid.cli``, for launchers such as torchrun."""

from st_hybrid.cli import main

main()
