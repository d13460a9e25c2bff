"""Questions with answers and sources, made from documents: by rules, by a model, checked, and as RAFT examples.

``blocks`` sees what a document consists of; ``rules`` turns it into questions with the grammar of a language
(``english``, ``portuguese``, ``spanish``); ``by_model`` asks a model; ``checks`` refuses what is no good question;
``unanswerable`` makes questions that nothing answers; ``raft`` makes training conversations; ``items`` is the file.
"""
