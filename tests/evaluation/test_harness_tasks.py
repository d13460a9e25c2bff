"""Task files over the published data: every set is read whole, its golds are right, what guessing gets is known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from lavra.errors import LavraError
from lavra.evaluation.harness.averaging import averages
from lavra.evaluation.harness.baselines import baselines, of_task
from lavra.evaluation.harness.extra import require_harness
from lavra.evaluation.harness.readers import read_rows, relettered, shuffled
from lavra.evaluation.harness.running import select
from lavra.evaluation.harness.task_files import build_task, by_path, task_files

require_harness()


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "eval"


ITEMS = {
    "arc_easy": 2376, "arc_challenge": 1172, "piqa": 1838, "boolq": 3270, "winogrande": 1267, "openbookqa": 500,
    "lambada_openai": 5153, "gsm8k": 1319, "truthfulqa_mc1": 790, "truthfulqa_mc2": 790, "bbh_snarks": 178,
    "mmlu_anatomy": 135, "commonsense_qa": 1221, "assin2_rte": 2448, "faquad": 63, "pira_mcq": 227, "toldbr": 21000,
    "triviaqa_sm_sub": 3000,
}  # fmt: skip
"""Of each set, by its makers' count."""


@pytest.mark.parametrize("name", ITEMS)
def test_a_set_is_read_whole(data: Path, name: str) -> None:
    built = build_task(task_files(data)[name], data).built
    assert len(built.eval_docs) == ITEMS[name]
    built.set_fewshot_seed(1)
    shots = built.get_config("num_fewshot") or 0
    document = built.eval_docs[3]
    context = built.fewshot_context(document, shots)
    requests = built.construct_requests(document, context, metadata=(name, 3, 1))
    for request in requests if isinstance(requests, list) else [requests]:
        asked, *rest = request.args
        assert "{{" not in asked
        assert asked.strip()
        assert isinstance(rest[0], dict) or rest[0].strip()


def test_each_task_file_finds_its_data_or_says_that_it_is_missing(data: Path) -> None:
    absent = {name for name, file in task_files(data).items() if file.missing(data)}
    assert absent == {
        "hellaswag", "squad", "coqa", "bigbench_elementary_math_qa",
        "agi_eval_lsat_ar", "agi_eval_lsat_rc", "agi_eval_lsat_lr",
        "hatebr", "recipe_logs",
    }  # fmt: skip
    assert len(task_files(data)) > 180


def test_of_bigbench_hard_hardly_a_row_is_lost(data: Path) -> None:
    """Three of its 6,511 examples have an answer that is none of their options."""
    files = [file for name, file in task_files(data).items() if name.startswith("bbh_")]
    lost = 0
    for file in files:
        published = len(json.loads(file.paths(data)["test"][0].read_text())["examples"])
        lost += published - len(build_task(file, data).built.eval_docs)
    assert (len(files), lost) == (27, 3)


def test_enem_leaves_out_what_needs_an_image_and_what_was_annulled(data: Path) -> None:
    rows = read_rows("enem", [data / "pt/enem/2022.json", data / "pt/enem/2024.jsonl"])
    with_images = read_rows("enem", [data / "pt/enem/2022.json", data / "pt/enem/2024.jsonl"], images=True)
    assert len(with_images) == 179 + 180 - 1
    assert len(rows) == len(with_images) - 56 - 56
    assert all(len(row["choices"]) == 5 and row["question"] for row in rows)


def test_xwinograd_puts_either_name_in_the_pronouns_place(data: Path) -> None:
    rows = read_rows("xwinograd", [data / "pt/xwinograd/dataset.tsv"], language="pt")
    assert 255 <= len(rows) <= 263
    assert rows[2]["context_options"] == [
        "A medalha não cabe na maleta porque medalha",
        "A medalha não cabe na maleta porque maleta",
    ]
    assert (rows[2]["continuation"], rows[2]["gold"]) == ("é muito grande.", 0)


# ── what guessing gets ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_known_lopsided_sets_are_shown_as_such(data: Path) -> None:
    def known(name: str):
        found = of_task(build_task(task_files(data)[name], data).built)
        assert found is not None
        return found

    # Published, the first choice is right in every row; here choices have changed places.
    assert known("bigbench_strange_stories").constant < 0.6
    assert known("boolq").majority == pytest.approx(2033 / 3270)
    assert known("boolq").best_name in ("constant", "majority", "longest")
    assert known("truthfulqa_mc1").longest > 0.3  # true answers are longer
    # Published, the third option of CommonsenseQA is right in 40%; here options have changed places.
    assert known("commonsense_qa").constant < 0.29


def test_baselines_are_what_a_count_gives() -> None:
    choices = [["yes", "no"], ["yes", "no"], ["yes", "no"], ["a", "bb", "ccc", "d"]]
    found = baselines(choices, [frozenset({0}), frozenset({0}), frozenset({1}), frozenset({2})])
    assert found.random == pytest.approx((0.5 + 0.5 + 0.5 + 0.25) / 4)
    assert found.constant == 0.5
    assert found.majority == 0.5
    assert found.longest == 0.75
    assert (found.best, found.best_name) == (0.75, "longest")


def test_shuffled_choices_keep_their_right_one() -> None:
    rows = [{"question": f"{n}?", "choices": ["w", "x", "y", "z"], "gold": 1} for n in range(400)]
    found = [shuffled(row) for row in rows]
    assert all(row["choices"][row["gold"]] == "x" for row in found)
    assert found == [shuffled(row) for row in rows]
    assert max(Counter(row["gold"] for row in found).values()) < 140
    query = "Q?\nChoices:\nA. cat\nB. dog\nC. C. elegans\nAnswer:"
    moved = [relettered({"query": query + " " * n, "choices": ["A", "B", "C"], "gold": 2}) for n in range(30)]
    assert {row["gold"] for row in moved} == {0, 1, 2}
    for row in moved:
        assert f"{row['choices'][row['gold']]}. C. elegans\n" in row["query"]
        assert row["query"].startswith("Q?\nChoices:\nA. ")


# ── choosing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_gauntlet_is_asked_with_its_own_examples_and_says_what_it_lacks(data: Path) -> None:
    gauntlet = averages()["gauntlet"]
    assert len(gauntlet.benchmarks) == 31
    assert len(gauntlet.categories) == 5
    chosen = select(["open_llm_leaderboard"], data)
    names = {task.name for task in chosen.tasks}
    assert len(names) == 57 + 4
    assert chosen.absent == ("open_llm_leaderboard_hellaswag",)
    shots = {task.name: task.file.config["num_fewshot"] for task in chosen.tasks}
    assert shots["open_llm_leaderboard_arc_challenge"] == 25
    assert list(chosen.groups) == ["open_llm_leaderboard_mmlu"]


def test_patterns_and_groups_choose_several_tasks(data: Path) -> None:
    assert {task.name for task in select(["arc", "truthfulqa_*"], data).tasks} == {
        "arc_easy", "arc_challenge", "truthfulqa_mc1", "truthfulqa_mc2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["arc_esy"], "there is no task, group or file called arc_esy"),
        (["hellaswag"], "the data of hellaswag is not there"),
        (["no/such/file.json"], "no task and no file"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(data: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        select(names, data)


def test_a_task_without_a_data_directory_asks_for_one() -> None:
    with pytest.raises(LavraError, match="give it as --data DIR"):
        select(["piqa"], None)


@pytest.mark.parametrize(
    ("reader", "content"),
    [("json", "[1, 2"), ("assin", "<a>"), ("squad", "{}"), ("bigbench", '{"examples": [{}]}'), ("mmlu", "a,b\n")],
)
def test_damaged_data_is_said_with_its_path(tmp_path: Path, reader: str, content: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(content)
    with pytest.raises(LavraError, match=r"damaged\.json"):
        read_rows(reader, [path])


# ── a user's own ─────────────────────────────────────────────────────────────────────────────────────────────────────

BIGBENCH = {
    "name": "odd_one_out",
    "task_prefix": "Pick the odd one out.\n",
    "examples": [
        {"input": "red, blue, cat", "target_scores": {"red": 0, "blue": 0, "cat": 1}},
        {"input": "one, dog, two", "target_scores": {"one": 0, "dog": 1, "two": 0}},
        {"input": "up, down, tin", "target_scores": {"up": 0, "down": 0, "tin": 1}},
    ],
}


def test_a_bigbench_task_is_asked_as_its_documentation_says(tmp_path: Path) -> None:
    path = tmp_path / "odd_one_out" / "task.json"
    path.parent.mkdir()
    path.write_text(json.dumps(BIGBENCH))
    built = build_task(by_path(path), None).built
    document = built.eval_docs[1]
    assert built.doc_to_text(document) == (
        "Pick the odd one out.\n\nQ: one, dog, two\n  choice: one\n  choice: dog\n  choice: two\nA:"
    )
    assert built.doc_to_choice(document) == ["one", "dog", "two"]
    assert built.doc_to_target(document) == [1]
    assert by_path(path).name == "bigbench_odd_one_out"


def test_a_users_task_file_is_read_by_the_harness(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question,answer\nCapital of Brazil?,Brasília\nCapital of Peru?,Lima\n")
    (tmp_path / "own.py").write_text("def ask(row):\n    return 'Q: ' + row['question']\n")
    (tmp_path / "capitals.yaml").write_text(
        "task: capitals\ndataset_path: csv\ndataset_kwargs: {data_files: {test: '{data}/rows.csv'}}\n"
        "test_split: test\noutput_type: loglikelihood\ndoc_to_text: !function own.ask\ndoc_to_target: ' {{answer}}'\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    chosen = select(["capitals"], tmp_path, [tmp_path])
    built = chosen.tasks[0].built
    assert built.doc_to_text(built.eval_docs[1]) == "Q: Capital of Peru?"
    (tmp_path / "broken.yaml").write_text("- not a task\n")
    with pytest.raises(LavraError, match=r"broken\.yaml is no task file"):
        select(["capitals"], tmp_path, [tmp_path])
