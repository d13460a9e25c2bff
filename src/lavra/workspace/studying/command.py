"""How a person asks for a study on the command line: what its report says of doing it again."""

from __future__ import annotations

import shlex

from lavra.workspace.studying.settings import StudySettings


def command_of(settings: StudySettings) -> str:
    """How a person asks for the same on the command line."""
    words = ["lavra", "study"]
    plain = [way for way in settings.ways if not way.split(":")[0].endswith((".py", ".toml"))]
    words += ["--ways", ",".join(plain)] if plain else []
    for way in settings.ways:
        words += ["--way", way] if way not in plain else []
    words += ["--models", ",".join(settings.models)] if settings.models else []
    usual = StudySettings()
    for name in ("questions", "tuning", "limit", "count", "budget", "measure", "max_tokens", "endpoint",
                 "endpoint_model", "key_env", "judge", "judge_model", "judge_key_env", "samples", "data", "entailment",
                 "seed"):  # fmt: skip
        value = getattr(settings, name)
        words += [f"--{name.replace('_', '-')}", str(value)] if value != getattr(usual, name) else []
    words += [] if settings.general else ["--no-general"]
    for role in settings.roles:
        words += ["--role", role] if role != "public" else []
    return shlex.join(words)
