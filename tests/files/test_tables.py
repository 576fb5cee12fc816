"""Tables as people have them, and what is wrong with others."""

from __future__ import annotations

import io
import sys

import numpy as np
import polars
import pytest

from cipherfit.exceptions import InvalidInputError, MissingDependencyError
from cipherfit.files.tables import read_table, write_answers

VALUES = np.array([[1.5, -2.0], [3.0, 4e-3]])
CSV = b"1.5,-2\n3,4e-3\n"


def npy(values, **options):
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def parquet(**columns):
    stream = io.BytesIO()
    polars.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


KINDS = {
    "csv": (CSV, None),
    "csv with a header": (b"a,b\n" + CSV, ("a", "b")),
    "csv of Windows": (b"\xef\xbb\xbfa,b\r\n" + CSV.replace(b"\n", b"\r\n"), ("a", "b")),
    "csv with quotes and blanks": (b'"a", b\n"1.5", -2\n\n3,4e-3', ("a", "b")),
    "npy": (npy(VALUES), None),
    "parquet": (parquet(a=VALUES[:, 0], b=VALUES[:, 1]), ("a", "b")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_numbers(kind):
    data, columns = KINDS[kind]
    table = read_table(data)
    assert np.array_equal(table.to_numpy(), VALUES)
    assert table.columns == columns
    assert len(table) == 2


def test_a_header_that_looks_like_numbers_is_one_where_the_model_has_such_names():
    data = b"0,1\n" + CSV
    assert read_table(data).columns is None
    assert read_table(data, names=("1", "0")).columns == ("0", "1")
    assert len(read_table(data, names=("1", "0"))) == 2


def test_columns_are_matched_by_name_where_both_sides_have_names():
    table = read_table(b"y,b,a\n9,1,2\n")
    chosen = table.select(("a", "b"))
    assert chosen.columns == ("a", "b")
    assert chosen.to_numpy().tolist() == [[2, 1]]
    assert table.left_out(("a", "b")) == ["y"]
    assert table.select(None).to_numpy().tolist() == [[9, 1, 2]]
    assert table.left_out(None) == []
    unnamed = read_table(b"9,1\n")
    assert unnamed.select(("a", "b")).to_numpy().tolist() == [[9, 1]]
    assert unnamed.select(("a", "b")).columns == ("a", "b")
    assert unnamed.left_out(("a", "b")) == []
    with pytest.raises(InvalidInputError, match=r"2 columns without names.*takes 3: 'a', 'b', 'c'"):
        unnamed.select(("a", "b", "c"))
    with pytest.raises(InvalidInputError, match="no column 'c'; their columns are 'y', 'b', 'a'"):
        table.select(("a", "c"))


def test_an_empty_cell_is_nan_which_is_the_models_to_judge():
    assert np.isnan(read_table(b"a,b\n1,\n2,3\n").to_numpy()[0, 1])


def test_columns_of_texts_keep_them_where_the_model_takes_texts():
    data = b"age,town\n31,Bern\n,\n"
    table = read_table(data, texts=True)
    assert [*table] == ["age", "town"]
    ages, towns = (table[name].to_numpy() for name in table)
    assert ages.dtype == np.float64
    assert np.array_equal(ages, [31, np.nan], equal_nan=True)
    assert towns[0] == "Bern"
    assert np.isnan(towns[1])
    stored = read_table(parquet(age=[31], town=["Bern"]), texts=True)
    assert [stored[name].to_numpy()[0] for name in stored] == [31, "Bern"]


def test_a_first_line_of_texts_and_numbers_is_a_row_where_the_model_takes_texts():
    table = read_table(b"31,Bern\n32,Basel\n", texts=True)
    assert (table.columns, len(table)) == (None, 2)
    assert [*table.numbered()] == ["0", "1"]
    assert table.numbered()["1"].to_numpy().tolist() == ["Bern", "Basel"]


WRONG = {
    "nothing": (b"", "the data is empty; give a table of CSV, npy or Parquet"),
    "a header alone": (b"a,b\n", "has a header and no rows"),
    "a word": (b"a,b\n1,2\n3,four\n", "line 3, column 'b' of the data: 'four' is no number"),
    "a word without names": (b"1,2\n3,four\n", "line 2, column 2 of the data: 'four'"),
    "a short line": (b"1,2\n3\n", "line 2 of the data has 1 cells, and the first has 2"),
    "a mixed first line": (b"1,oops\n1,2\n", "line 1 of the data holds numbers and words"),
    "a name twice": (b"a,a\n1,2\n", "header of the data has 'a' more than once"),
    "bytes": (b"\xff\xfe1,2\n", "can't be read as CSV in UTF-8"),
    "a quote without end": (b'1,"2\n', "can't be read as CSV in UTF-8: unexpected end"),
    "a cut npy": (npy(VALUES)[:-3], "can't be read as npy"),
    "a pickle in npy": (npy(np.array([{}]), allow_pickle=True), "can't be read as npy: Object"),
    "a row alone": (npy(VALUES[0]), r"float64 of shape \(2,\); a table is numbers of shape"),
    "words in npy": (npy(np.array([["a"]])), r"holds <U1 of shape \(1, 1\)"),
    "no rows in npy": (npy(VALUES[:0]), r"holds float64 of shape \(0, 2\)"),
    "no rows in Parquet": (parquet(a=VALUES[:0, 0]), "has no rows"),
    "a cut Parquet": (parquet(a=[1])[:-9], "can't be read as Parquet"),
    "words in Parquet": (parquet(a=["x"]), "column 'a' of the data holds no numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(kind):
    data, message = WRONG[kind]
    with pytest.raises(InvalidInputError, match=message):
        read_table(data)


def test_parquet_without_a_reader_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match="pip install polars"):
        read_table(parquet(a=[1]))


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (np.array(["yes", "no, never"]), 'p\nyes\n"no, never"\n'),
        (np.array([1, 2]), "p\n1\n2\n"),
        (np.array([0.1, 1e-9]), "p\n0.1\n1e-09\n"),
        (np.array([[0.25], [0.75]]), "p\n0.25\n0.75\n"),
    ],
)
def test_answers_are_csv_that_loses_nothing(answers, text):
    stream = io.StringIO()
    write_answers(stream, ["p"], answers)
    assert stream.getvalue() == text
