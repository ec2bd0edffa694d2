"""Exact and approximate search over shards of embeddings."""
