"""Folders for results."""

import pytest

from unnoise.errors import UserError
from unnoise.writing import output_folder


def test_a_folder_that_cannot_be_written_is_noticed_before_the_samples_are_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), output_folder(tmp_path / "file"):
        raise AssertionError("the work has begun")
    with pytest.raises(KeyError), output_folder(tmp_path / "a" / "b"):
        raise KeyError
    assert not (tmp_path / "a" / "b").exists()


def test_two_jobs_of_one_second_have_a_folder_each(tmp_path):
    made = []
    for _ in range(3):
        with output_folder(tmp_path / "now", fresh=True) as folder:
            made.append(folder.name)
    assert made == ["now", "now-2", "now-3"]
