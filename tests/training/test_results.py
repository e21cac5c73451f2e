"""Tables of results: a row a run, whatever wrote it and when."""

import pytest

from training import results
from training.recipe import UserError


def row(name, **values):
    return {"run": name, "test_nats": 1.23456, "command": "python training/run.py", **values}


def test_a_row_takes_the_place_of_an_earlier_one_of_the_run(tmp_path):
    path = tmp_path / "folder" / "a.csv"
    for each in (row("x"), row("y"), row("x", test_nats=2.0)):
        results.put(path, each)
    found = results.read(path)
    assert [(each["run"], each["test_nats"]) for each in found] == [("x", "2.0"), ("y", "1.2346")]
    assert tuple(found[0]) == results.COLUMNS


def test_a_command_says_nothing_of_where_things_go(tmp_path):
    options = (
        "--runs /home/me/runs --recipe x --restart --results='a b.csv' --restart-soon --seed 1"
    )
    results.put(tmp_path / "a.csv", row("x", command=f"python training/run.py {options}"))
    (found,) = results.read(tmp_path / "a.csv")
    assert found["command"] == "python training/run.py --recipe x --restart-soon --seed 1"


def test_what_an_earlier_version_wrote_gets_the_new_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("run,command,test_bleu,signature\nold,python a.py,30.5,s\n")
    results.put(path, row("new", test_bleu=31.0, test_beam_5_bleu=32.0, signature="s"))
    old, new = results.read(path)
    assert (old["test_bleu"], old["test_beam_5_bleu"]) == ("30.5", "")
    assert (new["test_bleu"], new["test_beam_5_bleu"]) == ("31.0", "32.0")


def test_another_table_is_left_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("run,price\nx,3\n")
    with pytest.raises(UserError, match=r"other columns than a row of results \(price\)"):
        results.put(path, row("y"))
    assert path.read_text() == "run,price\nx,3\n"
