"""``lavra.toml`` says what it means, and a mistake in it is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomlkit

from lavra.corpus.settings import ReadSettings
from lavra.errors import LavraError
from lavra.workspace.settings import LIMITS, Settings, load_settings, template


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "lavra.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_a_new_workspace_s_settings_are_the_defaults(tmp_path: Path) -> None:
    assert settings(tmp_path, template("Prefeitura “A”")) == Settings(name="Prefeitura “A”")
    assert settings(tmp_path, "") == Settings()


def test_every_commented_line_is_a_setting_and_those_without_a_choice_show_the_default(tmp_path: Path) -> None:
    uncommented = re.sub(r"^# (?=[a-z_]+ = )", "", template("x"), flags=re.MULTILINE)
    loaded = settings(tmp_path, uncommented)
    shown = tomlkit.parse(uncommented)
    examples = {"licence", "owner", "roles", "max_megabytes", "workers", "fusion", "reranker", "threshold", "seed"}
    limits = ReadSettings()
    for section in ("models", "documents", "index", "search", "answer", "serve"):
        for key in shown[section]:
            if key not in examples:
                default = getattr(limits, key) if key in LIMITS else getattr(getattr(Settings(), section), key)
                assert getattr(getattr(loaded, section), key) == default, key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[answer]\npassages = 0", "'answer.passages' is 0"),
        ("[answer]\npasages = 3", "there is no setting 'answer.pasages'; did you mean 'passages'?"),
        ("[documentos]\nlanguages = []", "there is no setting 'documentos'; did you mean 'documents'?"),
        ("[serve]\nqxz = 3", "there is no setting 'serve.qxz'; the comments of a new workspace's lavra.toml list them"),
        ('[documents]\nlanguages = "pt"', "'documents.languages' is 'pt', which cannot be: input should be a list."),
        ('[answer]\ntemperature = "hot"', "'answer.temperature' is 'hot'"),
        ('[answer]\ngrounding = "loose"', "'answer.grounding' is 'loose'"),
        ("[serve]\nport = 70000", "'serve.port' is 70000"),
        ("[models\n", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LavraError, match=re.escape(said)) as caught:
        settings(tmp_path, text)
    assert "lavra.toml" in str(caught.value)
