"""The evaluator for training."""

import csv
import logging
from pathlib import Path
from typing import Any

from sentence_transformers.base.evaluation.evaluator import BaseEvaluator

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.results import MEASURES, MIXED_MEASURES, SETTINGS
from st_hybrid.evaluation.scoring import Centering, evaluate_retrieval

logger = logging.getLogger(__name__)


class CrossLingualRetrievalEvaluator(BaseEvaluator):
    """Evaluate a model during training on monolingual, cross-lingual and multilingual retrieval at once.

    The primary metric is ``multilingual_map``; the others are the measures of
    :class:`~st_hybrid.evaluation.RetrievalScores`, such as ``cross_lingual_recall_at_10`` and ``rank_distance``.

    Args:
        collection: What to evaluate on. Data that pick a checkpoint are not test data: report on another collection.
        sample: Number of queries for a quicker evaluation (:meth:`RetrievalCollection.sample`); by default all.
        seed: Seed of the sample.
        name: Prefix of the metrics' names, and part of the CSV file's name.
        batch_size: Texts per encoding batch.
        centering: Language means to subtract, for a model in training ``"evaluated"``: those of the evaluated texts.
        query_prompt: Text before each query; by default the model's own query prompt.
        document_prompt: Text before each passage; by default the model's own document prompt.
        write_csv: Append the metrics to a CSV file in the output folder.
        show_progress_bar: Show the progress of encoding.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import CrossLingualRetrievalEvaluator
            from st_hybrid.evaluation import load_lareqa

            evaluator = CrossLingualRetrievalEvaluator(load_lareqa("XQuAD-R"), sample=150, name="xquad-r")
            print(evaluator(SentenceTransformer("intfloat/multilingual-e5-small"))["xquad-r_multilingual_map"])
    """

    def __init__(
        self,
        collection: RetrievalCollection,
        *,
        sample: int | None = None,
        seed: int = 0,
        name: str = "",
        batch_size: int = 32,
        centering: Centering | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        write_csv: bool = True,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__()
        self.collection = collection if sample is None else collection.sample(sample, seed=seed)
        self.name = name
        self.write_csv = write_csv
        self.options: dict[str, Any] = {
            "batch_size": batch_size,
            "centering": centering,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
            "show_progress_bar": show_progress_bar,
        }
        self.sampling = {} if sample is None else {"sample": sample, "seed": seed}
        self.primary_metric = "multilingual_map"
        self.csv_file = f"Cross-Lingual-Retrieval_evaluation{'_' + name if name else ''}_results.csv"
        metrics = [f"{kind}_{measure}" for kind in SETTINGS for measure in (*MEASURES, "contrastive_entropy")]
        self.csv_headers = ["epoch", "steps", *metrics, "multilingual_peer_at_20", *MIXED_MEASURES]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate ``model``, append to the CSV file in ``output_path`` if given, and return the metrics."""
        scores = evaluate_retrieval(model, self.collection, **self.options)
        means = scores.by_setting.items()
        flat = {f"{kind}_{name}": value for kind, of_kind in means for name, value in of_kind.to_dict().items()}
        flat |= {name: value for name in MIXED_MEASURES if (value := getattr(scores, name)) is not None}
        listed = ", ".join(f"{metric} {value:.4f}" for metric, value in flat.items())
        logger.info("Retrieval on %s (epoch %s, step %s): %s", self.collection.name, epoch, steps, listed)
        if output_path is not None and self.write_csv:
            path = Path(output_path) / self.csv_file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.csv_headers)
                if not file.tell():
                    writer.writeheader()
                writer.writerow({"epoch": epoch, "steps": steps, **flat})
        metrics: dict[str, float] = self.prefix_name_to_metrics(flat, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics

    def get_config_dict(self) -> dict[str, Any]:
        """The configuration, for the model card."""
        given = {option: self.options[option] for option in ("centering", "query_prompt", "document_prompt")}
        return {
            "collection": self.collection.name,
            "languages": list(self.collection.languages),
            "queries": len(self.collection.queries),
            "passages": len(self.collection.passages),
            **self.sampling,
            **{name: value if isinstance(value, str) else "language means" for name, value in given.items() if value},
        }
