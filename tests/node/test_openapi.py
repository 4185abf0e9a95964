"""The description of the API against the API: requests made from it, valid and not, never meet a failure."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from assay.node.api.limits import Limits
from tests.node.running import running_node

EXAMPLES = 300 if os.environ.get("ASSAY_TORTURE") == "1" else 15
STREAMS = "/api/v1/events"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node without a bound on the rate."""
    with running_node(tmp_path_factory.mktemp("openapi") / "node", limits=Limits(requests_per_second=0)) as running:
        yield running


def make_check(operation, mode):
    """Return a property: each request of an operation is answered with a status that the description names."""
    described = {int(status) for status in operation.definition.raw["responses"] if status.isdigit()} | {405}

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        response = case.call()
        assert response.status_code in described, (case.method, case.path, response.text)

    return check


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_no_request_made_from_the_description_meets_a_failure(node, mode):
    """Whatever fits the description, or just does not, is answered with a described status, never with a failure."""
    schema = schemathesis.openapi.from_url(f"{node.url}/api/v1/openapi.json").exclude(path=STREAMS)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 12
    checked = 0
    for operation in operations:
        try:
            make_check(operation, mode)()
        except Unsatisfiable:  # nothing of this operation can be made invalid
            continue
        checked += 1
    assert checked >= 8
