"""The arithmetic of charts: nothing is left out, nothing leaves the frame, few columns however long the run."""

from hypothesis import given
from hypothesis import strategies as st

from assay.report.charts import describe_interval, draw_intervals, draw_losses
from assay.report.series import MAX_COLUMNS, Interval, LossColumn, divide, group_losses

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.integers(0, 5000), st.integers(1, 200))
def test_ranges_cover_all_once(total, columns):
    """Ranges follow each other without gap, are never empty, and are as many as asked or as there are."""
    ranges = divide(total, columns)
    assert [place for first, last in ranges for place in range(first, last)] == list(range(total))
    assert len(ranges) == min(total, columns)


@given(st.lists(st.none() | numbers, max_size=400))
def test_losses_stay_inside_the_frame(losses):
    """Points lie in the square of 1000 by 1000, whatever the numbers are, up to the largest that there are."""
    columns = group_losses(losses)
    assert len(columns) <= MAX_COLUMNS
    if not columns:
        assert all(loss is None for loss in losses)
        return
    chart = draw_losses(columns)
    for point in f"{chart.line} {chart.band}".split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 1000
        assert 0 <= y <= 1000


def test_the_extremes_of_a_column_are_kept():
    """Grouping keeps least and most, so that a spike of one step is still seen."""
    losses = [1.0] * 1000
    losses[500] = 99.0
    columns = group_losses(losses, 10)
    assert max(column.most for column in columns) == 99.0
    assert draw_losses(columns).is_grouped
    assert draw_losses([LossColumn(1, 1, 2.0, 2.0, 2.0)]).up == ["2", "2", "2"]


def make_interval(**changes):
    """Return an interval that matches."""
    values = {
        "index": 3,
        "count": 1,
        "first": 31,
        "last": 40,
        "loss": 0.5,
        "result": "matches",
        "found": {"matches": 1},
    }
    return Interval(**{**values, "kind": "all", **changes})


def test_words_name_interval_steps_finding_and_loss():
    """One interval says its finding and how it was chosen; several say how many have which."""
    assert describe_interval(make_interval()) == "interval 3, steps 31 to 40 · matches (all) · mean loss 0.5"
    grouped = make_interval(count=4, last=70, loss=None, result="differs", found={"matches": 3, "differs": 1})
    assert describe_interval(grouped) == "intervals 3 to 6, steps 31 to 70 · 3 matches · 1 differs"


def test_narrow_columns_carry_no_symbols():
    """Up to 40 columns show a symbol beside the colour; more show the colour and words alone."""
    assert draw_intervals([make_interval()] * 40).columns[0].symbol == "✓"
    assert draw_intervals([make_interval()] * 41).columns[0].symbol == ""
