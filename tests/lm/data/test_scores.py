import subprocess
import sys
from decimal import Decimal

import pytest

from trimwave.lm.data.scores import final_number, macro_f1, num_correct


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("2 + 2 = <<2+2=4>>4 ducks.\n#### 4", "4"),
        ("#### 1,234,567", "1234567"),
        ("#### $1,234.50", "1234.5"),
        ("#### -3", "-3"),
        ("#### -$3", "-3"),
        ("#### 18.", "18"),  # the end of a sentence
        ("#### 18.00", "18"),
        ("#### 0.5\n", "0.5"),
        ("#### .5", "0.5"),
        ("####18", "18"),
        ("#### 18 eggs", "18"),
        ("#### 18%", "18"),
        ("so #### 5\nso #### 6", "5"),  # take_first
        ("It is 7.\nQuestion: How many?\nAnswer: #### 9", None),  # goes on by itself
        ("#### 7\n\nQuestion: How many?\nAnswer: #### 9", "7"),
        ("The answer is 18.", None),
        ("#### eighteen", None),
        ("#### ", None),
        ("####\n18", None),
        ("### 18", None),
        ("#### 1.2.3", None),
        ("#### 5-3", None),
        ("#### $", None),
        ("#### ...", None),
        ("", None),
    ],
)
def test_the_number_of_an_answer(answer, number):
    assert final_number(answer) == (None if number is None else Decimal(number))


def test_numbers_are_compared_as_numbers():
    found = [final_number(text) for text in ("#### 18.0", "#### 1,000", "18", "#### 2")]
    assert num_correct(found, [Decimal(18), Decimal(1000), Decimal(18), None]) == 2


def f1(true_positives, found, true):
    """By precision and recall, for one class."""
    if not true_positives:
        return 0.0
    precision, recall = true_positives / found, true_positives / true
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], 1.0),
        ([1, 0], [0, 1], 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], (f1(3, 4, 3) + 0) / 2),  # 1 is never found
        ([0, 0, 2], [0, 0, 0], (f1(2, 2, 3) + 0) / 2),  # 2 is never true
        ([5, 5], [5, 5], 1.0),  # classes 0 to 4 are neither: left out
        (
            [0, 1, 1, 1, 2, 0],
            [0, 0, 1, 1, 2, 2],
            (f1(1, 2, 2) + f1(2, 3, 2) + f1(1, 1, 2)) / 3,
        ),
        ([3], [3], 1.0),
    ],
)
def test_macro_f1_by_precision_and_recall(found, true, expected):
    assert macro_f1(found, true) == pytest.approx(expected, abs=1e-15)
    assert macro_f1(true, found) == pytest.approx(expected)  # of a class, symmetric
    pairs = [*zip(found, true, strict=True)][::-1]
    swapped = {number: 9 - number for number in range(10)}
    renamed = [[swapped[one] for one in part] for part in zip(*pairs, strict=True)]
    assert macro_f1(*renamed) == pytest.approx(expected)


def test_scores_need_no_torch():
    code = "import sys, trimwave.lm.data.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
