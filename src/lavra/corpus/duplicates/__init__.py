"""Near-duplicates: MinHash signatures, candidates by bands, Jaccard of the candidates, clusters, and who stays."""
