"""Scenes of these tests are generated once, in a folder of their own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("scenes"))
        patch.setenv("MTLREPRO_CACHE", folder)
        yield folder
