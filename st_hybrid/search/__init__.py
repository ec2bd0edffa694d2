"""Search over shards of embeddings, exact or approximate."""
