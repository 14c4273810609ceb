"""`command`: the command line in this process."""

from collections.abc import Callable

import pytest

from training.cli import main

Answer = tuple[int, list[str], list[str]]
Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `notellm-train`: exit code, lines of standard output, lines of standard error."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["notellm-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out.splitlines(), output.err.splitlines()

    return run
