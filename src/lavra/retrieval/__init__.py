"""Retrieval: documents cut into passages that can be cited, and the passages found again for a question.

``chunking`` cuts, ``analysis`` says which words are the same word, ``index`` keeps and finds, ``fusion`` weighs what
the two searches say. Who may read a passage is stored with it (``access``) and decides inside the searches.
"""
