"""Options under former names: they still work, and a warning names the new ones."""

import pytest

from deepfeatures.cli.main import main
from deepfeatures.cli.renamed_options import RENAMED, with_current_names


@pytest.mark.parametrize(
    ("former", "current"),
    [
        (["quality", "a/", "--scans", "b", "--machine"], ["quality", "a/", "--volumes", "b", "--automatic-rater"]),
        (["quality", "a/", "--scans=b=c"], ["quality", "a/", "--volumes=b=c"]),
        (["cohort", "--alone"], ["cohort", "--independent"]),
        (["place", "--pose", "any", "--alone"], ["place", "--initialization", "any", "--independent"]),
    ],
)
def test_former_names_are_read_as_the_current_ones(former, current):
    found, warnings = with_current_names(former)
    assert found == current
    assert len(warnings) == sum(one != other for one, other in zip(former, current, strict=True))


@pytest.mark.parametrize("arguments", [[], ["quality", "--volumes", "b"], ["weights", "--alone"]])
def test_everything_else_stays_as_it_is(arguments):
    assert with_current_names(arguments) == (arguments, [])


@pytest.mark.parametrize(("command", "names"), RENAMED.items())
def test_every_new_name_is_an_option_of_its_command(command, names, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert all(new in said and former not in said for former, new in names.items())


def test_the_warning_is_one_line_on_standard_error(capsys, tmp_path):
    assert main(["quality", str(tmp_path / "nobody"), "--output-dir", str(tmp_path), "--machine"]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "warning: --machine is now --automatic-rater; the old name works for one more version"
    assert "--volumes" in error
