"""Text to token ids and back, and conversations to the text a model was tuned on.

``from lavra.tokens.tokenizer import Tokenizer, load_tokenizer`` is the way in; tokenizers are rebuilt from whatever the
model's own files hold.
"""
