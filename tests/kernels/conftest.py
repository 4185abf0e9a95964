"""Runs a test once for each variant that this machine can run."""

import pytest

from assay.kernels import loader


def pytest_generate_tests(metafunc):
    """Give `variant` every choice of instruction sets, the portable one first."""
    if "variant" in metafunc.fixturenames:
        choices = [loader.get_names(bits) for bits in loader.find_variants()]
        metafunc.parametrize(
            "variant", choices, ids=["-".join(names) or "portable" for names in choices], indirect=True
        )


@pytest.fixture
def variant(request):
    """The instruction sets in use during this test."""
    with loader.only(request.param):
        yield request.param
