"""What goes through a pipe is written at once, and answers come back from files as they were."""

from __future__ import annotations

import pickle
import select

import pytest

from cipherfit.exceptions import CipherfitError, CompilationError
from cipherfit.fhe.handover import LeftAnswers, brief
from cipherfit.fhe.rows import MOST_ROWS


def test_answers_are_taken_as_they_were_left_and_the_file_goes(tmp_path):
    answers = [b"", b"first", bytes(range(256))]
    left = LeftAnswers.of(answers, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    assert left.taken() == answers
    assert not list(tmp_path.iterdir())


def test_each_task_leaves_a_file_of_its_own(tmp_path):
    first, second = (LeftAnswers.of([answer], str(tmp_path)) for answer in (b"a", b"b"))
    assert (second.taken(), first.taken()) == ([b"b"], [b"a"])


@pytest.mark.parametrize("kind", [CompilationError, OSError, CipherfitError])
@pytest.mark.parametrize("text", ["no memory", "äöü" * 10_000])
def test_what_goes_through_the_pipe_is_written_at_once(tmp_path, kind, text):
    # With room for what joblib adds to an outcome.
    most = select.PIPE_BUF - 1500
    sent = brief(kind(text))
    assert len(pickle.dumps(sent)) < most
    assert isinstance(sent, CipherfitError) == issubclass(kind, CipherfitError)
    assert text[:600] in str(sent)
    left = LeftAnswers(f"{tmp_path}/{'n' * 255}", (2**40,) * MOST_ROWS)
    assert len(pickle.dumps(left)) < most
