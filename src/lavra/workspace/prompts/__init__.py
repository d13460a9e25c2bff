"""The workspace's prompts: read for faults (``linting.py``), and made better by trying (``improving.py``)."""
