"""XQuAD-R, MLQA-R and MIRACL as tasks of mteb, and the benchmark ``st-hybrid`` of the three.

Importing this module registers them.

Example:
    ::

        import mteb
        import st_hybrid.tasks

        model = mteb.get_model("intfloat/multilingual-e5-small")
        mteb.evaluate(model, mteb.get_task("XQuAD-R"))
        mteb.evaluate(model, mteb.get_benchmark("st-hybrid"))
"""

from mteb import Benchmark

from st_hybrid.tasks.lareqa_tasks import MLQAR, LareqaTask, XQuADR
from st_hybrid.tasks.means import group_means
from st_hybrid.tasks.miracl_task import MIRACL, load_miracl
from st_hybrid.tasks.registry import add_to_mteb
from st_hybrid.tasks.sharded_search import ShardedSearch

__all__ = ["MIRACL", "MLQAR", "LareqaTask", "ShardedSearch", "XQuADR", "group_means", "load_miracl"]

add_to_mteb(
    [XQuADR, MLQAR, MIRACL],
    Benchmark(
        name="st-hybrid",
        tasks=[XQuADR(), MLQAR(), MIRACL()],
        description="Retrieval within a language, across languages and from mixed-language pools.",
        reference="https://arxiv.org/abs/2408.10536",
    ),
)
