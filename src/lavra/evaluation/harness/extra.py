"""lm-eval, brought in when it is needed: it is an extra, and takes a second to import."""

from __future__ import annotations

import logging
import os

from lavra.errors import LavraError

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
_QUIET = ("lm_eval", "lm-eval", "datasets")


def offline() -> None:
    """Whatever a task file names is looked for on this machine only. The libraries below the harness look at this when
    they are imported; nor do they draw bars between the lines of a table."""
    for name in (*_OFFLINE, "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")


def require_harness() -> None:
    """Raises LavraError, saying what to install, where lm-eval is absent."""
    offline()
    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError as error:
        raise LavraError("`lavra evaluate` needs lm-eval: install it with  pip install 'lavra[evaluate]'.") from error
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def harness_version() -> str:
    from importlib.metadata import version

    return version("lm_eval")
