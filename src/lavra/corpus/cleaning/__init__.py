"""A corpus to train on, out of a corpus as it was read: stages that each say what they dropped and why.

``run.clean_corpus`` runs them. What concerns one document alone is done batch by batch by ``batch.treat``, which a
DataFrame engine (Daft) spreads over cores or, with ``LAVRA_RUNNER=ray``, over machines; what concerns all of them
(who is whose duplicate) is decided from the batches' keys; then the documents that stay are written in order.
"""
