"""What commands leave behind: an exit code, and one line where they did not come to an end."""

import pytest

from sartutor.errors import DataError, exit_code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (DataError("a.tif is empty; copy it again."), 2, "a.tif is empty; copy it again.\n"),
        (KeyboardInterrupt(), 130, "Stopped; the same command goes on at this cell.\n"),
    ],
)
def test_how_a_command_ends(capsys, error, code, said):
    def command():
        if error is not None:
            raise error

    assert exit_code(command, "at this cell") == code
    assert capsys.readouterr().err == said


def test_a_mistake_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0, "at this cell")
