"""The chart, with the tools that render it unpacked once."""

import pytest

from tests.deploy.chart import Chart, unpack_tools


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    folder = tmp_path_factory.mktemp("helm")
    unpack_tools(folder)
    return Chart(folder)
