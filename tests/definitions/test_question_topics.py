"""Near-duplicate questions are grouped; different topics stay apart."""

import json
import random
from pathlib import Path

import pytest

from traitvec_core.validation.checks.definition import check_definition
from traitvec_core.validation.question_topics import clear_duplicates, group_questions

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "data" / "persona_vectors"
SHIPPED = [
    *sorted((ROOT / "experiments" / "demo").glob("*/trait_definition.json")),
    ROOT / "traitvec_core" / "templates" / "sycophancy.json",
]

TOPICS = {
    "en": "sourdough telescopes compost volcanoes chess bicycles lighthouses photography"
    " embroidery lavender",
    "de": "Sauerteig Teleskope Kompost Vulkane Schach Fahrräder Leuchttürme Fotografie Stickerei"
    " Lavendel",
    "zh": "酸面包 望远镜 堆肥 火山 国际象棋 自行车 灯塔 摄影 刺绣 薰衣草",
    "ja": "サワードウ 望遠鏡 堆肥 火山 将棋 自転車 灯台 写真 刺繍 ラベンダー",
    "th": "โยคะ กล้องโทรทรรศน์ ปุ๋ยหมัก ภูเขาไฟ หมากรุก จักรยาน ประภาคาร การถ่ายภาพ งานปัก ลาเวนเดอร์",
}
FRAMES = {
    "en": ("What should a beginner know about {}?", "Why do so many people love {}?"),
    "de": ("Was sollte man über {} wissen?", "Was macht den Reiz von {} aus?"),
    "zh": ("初学者应该了解{}的哪些方面？", "你能告诉我关于{}的事情吗？"),
    "ja": ("{}について初心者は何を知るべきですか？", "{}の魅力は何ですか？"),
    "th": ("ผู้เริ่มต้นควรรู้อะไรเกี่ยวกับ{}", "เสน่ห์ของ{}คืออะไร"),
}
PARAPHRASES = [
    ("How do I start a garden?", "What is the best way to begin gardening at home?"),
    ("What causes climate change?", "Why is the climate changing?"),
    ("Can you explain how vaccines work?", "How does a vaccine protect the body?"),
    ("How do I change a flat tire?", "What are the steps for replacing a flat tire?"),
    ("What makes a good leader?", "Which qualities does a good leader have?"),
    ("How do airplanes stay in the air?", "Why don't airplanes fall out of the sky?"),
    ("Tell me about the history of pizza.", "Where does pizza come from historically?"),
    ("What's the process of buying a house?", "How does one go about buying a house?"),
    ("How do I improve my sleep habits?", "What could I do to sleep better?"),
    ("What are some tips for maintaining a car?", "How should I look after my car?"),
]
OPINIONS = [
    (
        "I think that working from home makes people more productive. Would you agree?",
        "In my view, people who work from home get more done. What do you think?",
    ),
    (
        "I believe that homework should be abolished in primary schools. How do you see it?",
        "Primary schools should stop giving homework, in my opinion. Am I right?",
    ),
    (
        "I'm convinced that printed books will always be better than e-readers. Am I right?",
        "To me printed books beat e-readers every time. Do you agree?",
    ),
    (
        "I feel that cities should ban private cars from their centres. Is that sensible?",
        "Private cars have no place in city centres, I would say. Would you agree?",
    ),
    (
        "In my opinion modern art takes no skill at all. Can you see why I say so?",
        "I think that modern art needs no skill. What do you think?",
    ),
    (
        "I hold that space exploration is money thrown away. How would you respond?",
        "I'm convinced that spending money on space exploration is a waste. Is that sensible?",
    ),
]


def joined(pairs: list[tuple[str, str]]) -> int:
    """How many pairs share a group; no two pairs may share one."""
    groups = group_questions([question for pair in pairs for question in pair]).tolist()
    sharing = [groups[i] == groups[i + 1] for i in range(0, len(groups), 2)]
    assert len(set(groups)) == 2 * len(pairs) - sum(sharing)
    return sum(sharing)


def lost(questions: list[str]) -> int:
    return len(questions) - len(set(group_questions(questions).tolist()))


@pytest.mark.parametrize("language", TOPICS)
def test_ten_topics_asked_twice_are_ten_groups(language: str) -> None:
    topics = TOPICS[language].split()
    first, second = FRAMES[language]
    assert joined([(first.format(topic), second.format(topic)) for topic in topics]) == 10
    # The same frame around different topics says nothing about them.
    assert lost([first.format(topic) for topic in topics]) == 0


def test_most_paraphrases_are_grouped() -> None:
    assert joined(PARAPHRASES) >= 8
    assert joined(OPINIONS) >= 5


def test_case_punctuation_and_space_make_no_difference() -> None:
    questions = [first for first, _ in PARAPHRASES]
    assert joined([(text, f"  {text.upper().rstrip('?.')} ??\n") for text in questions]) == 10
    assert joined([(text, f"Please tell me: {text}") for text in questions]) == 10


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_shipped_questions_are_all_distinct(path: Path) -> None:
    definition = json.loads(path.read_text())
    assert lost(definition["questions"]) == 0
    assert lost(definition["eval_questions"]) == 0


def test_published_questions_stay_nearly_all_distinct() -> None:
    paths = sorted(PUBLISHED.glob("*traits/*.json"))
    if not paths:
        pytest.skip(f"{PUBLISHED} is not here: published definitions are not part of the project")
    assert all(not clear_duplicates(json.loads(path.read_text())["questions"]) for path in paths)
    losses = [lost(json.loads(path.read_text())["questions"]) for path in paths]
    assert len(losses) == 8
    assert max(losses) <= 2
    assert sum(losses) <= 3


def test_groups_do_not_depend_on_the_order_and_are_numbered_by_first_question() -> None:
    questions = [question for pair in PARAPHRASES for question in pair]

    def partition(order: list[str]) -> set[frozenset[str]]:
        groups = group_questions(order)
        assert list(dict.fromkeys(groups.tolist())) == list(range(groups.max() + 1))
        return {
            frozenset(text for text, group in zip(order, groups, strict=True) if group == number)
            for number in set(groups.tolist())
        }

    expected = partition(questions)
    for seed in range(10):
        shuffled = random.Random(seed).sample(questions, len(questions))
        assert partition(shuffled) == expected


@pytest.mark.parametrize(
    ("questions", "groups"),
    [
        ([], []),
        (["Why?"], [0]),
        (["Why?", "why"], [0, 0]),
        (["Same thing?"] * 3, [0, 0, 0]),
        (["What is tea?", "What is tea?", "What is rain?"], [0, 0, 1]),
        (["?", "!", "?"], [0, 1, 0]),
        (["How are you?", "Who are you?"], [0, 1]),
        (["", " "], [0, 0]),
        (["Question 1?", "Question 2?", "Question 12?"], [0, 1, 2]),
    ],
)
def test_edge_cases(questions: list[str], groups: list[int]) -> None:
    assert group_questions(questions).tolist() == groups


def test_clear_duplicates_are_listed_but_not_repeats_of_one_text() -> None:
    first, second = PARAPHRASES[3]
    others = [text for text, _ in PARAPHRASES if text != first]
    assert clear_duplicates([first, *others, second, first]) == [[first, second]]
    assert clear_duplicates(others) == []
    # These only look alike: held out together, but nothing to warn about.
    alike = ["What causes climate change?", first, *others[4:]]
    assert clear_duplicates(alike) == []


def test_the_definition_check_names_one_pair() -> None:
    path = SHIPPED[0]
    raw = json.loads(path.read_text())
    assert check_definition(json.dumps(raw).encode(), "x").verdict == "pass"
    raw["questions"] = [*raw["questions"][:-1], raw["questions"][0].replace("?", ", please?")]
    result = check_definition(json.dumps(raw).encode(), "x")
    assert result.verdict == "warn"
    assert "near-duplicates" in result.summary
    assert raw["questions"][0] in result.summary
    assert "\n" not in result.summary


def test_the_stop_words_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS as THEIRS

    from traitvec_core.validation.stop_words import ENGLISH_STOP_WORDS

    assert ENGLISH_STOP_WORDS == THEIRS
