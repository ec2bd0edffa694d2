"""Train as the best recipe that was measured does, on the data that people have.

Questions with answers in one language each serve monolingual batches, sentences with their translations serve
cross-lingual ones. Cross-lingual batches hold sentences of the same documents, each text is drawn towards the start's
vector of its English translation, and a fifth of the start's weights is averaged into the trained ones in the end.
``benchmarks/results/study/README.md`` has the figures, and what each part gave.

Each file has one JSON object per line, and the files are one pool::

    {"id": "q1", "language": "ja", "query": "コウノトリの巣はどこ?", "positive": "煙突の上です。"}

    {"id": "s1", "language": "en", "document": "storks", "text": "Storks nest on chimneys."}
    {"id": "s1", "language": "de", "document": "storks", "text": "Störche nisten auf Schornsteinen."}

Run it again after an interruption: it goes on from its last checkpoint. Run it::

    python recipe.py --data questions.jsonl translations.jsonl --document-column document --output recipe-model
"""

from __future__ import annotations

import argparse

from st_hybrid.data import open_row_sets
from st_hybrid.recipe import Recipe
from st_hybrid.training import finetune

parser = argparse.ArgumentParser(description="Train on questions and on translations with the measured recipe.")
parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="folder or name on the Hub")
parser.add_argument("--data", nargs="+", required=True, help="files of parallel rows")
parser.add_argument("--output", default="recipe-model", help="folder to write the model to")
parser.add_argument("--document-column", help="column that tells which sentences are of one document")
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--max-length", type=int, default=80, help="tokens per text in training")
parser.add_argument("--max-steps", type=int, default=600)
options = parser.parse_args()

recipe = Recipe(
    alpha=0.4,
    same_document=options.document_column is not None,
    anchor="en",
    anchor_weight=25,
    merge=0.2,
    batch_size=options.batch_size,
    max_steps=options.max_steps,
    learning_rate=1e-4,
    scale=100,
    max_length=options.max_length,
    freeze_embeddings=True,
    query_prompt="query: ",
    document_prompt="passage: ",
)
columns = {"document": options.document_column} if options.document_column else {}
finetune(options.model, dict(open_row_sets(options.data, columns=columns)), options.output, recipe, resume=True)
