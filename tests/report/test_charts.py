"""The arithmetic of charts: nothing is left out, nothing leaves the frame, few columns however long the run."""

from hypothesis import given
from hypothesis import strategies as st

from assay.report.charts import describe_interval, draw_changes, draw_intervals, draw_losses
from assay.report.series import MAX_COLUMNS, Interval, LossColumn, divide, group_losses
from assay.verification.weight_analysis.measures import Measures
from assay.verification.weight_analysis.records import IntervalChange, WeightAnalysis
from assay.verification.weight_analysis.thresholds import Threshold

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


def make_change(**changes):
    """Return the change of one interval that was judged and is as expected."""
    values = {"first": 0, "last": 10, "measures": Measures(2.0, 0.5, None, 0.01), "expected": 2.0, "low": 1.0}
    flags = {"high": 3.0, "score": 0.1, "judged": True, "flagged": False, "undoing": False}
    return IntervalChange(**{**values, **flags, **changes})


def test_changes_stand_over_their_steps():
    """Bars lie side by side over the steps, flagged ones are marked, and the band covers the judged ones alone."""
    changes = (
        make_change(judged=False),
        make_change(first=10, last=20, flagged=True, measures=Measures(4.0, 1.0, 10.0, 0.1)),
    )
    threshold = Threshold()
    analysis = WeightAnalysis("run", "absolute", threshold, ways_back=True, weights=1, tensors=1, intervals=changes,
                              layers=())  # fmt: skip
    chart = draw_changes(analysis, [1.0] * 20)
    assert [(column.left, column.width) for column in chart.columns] == [("0.000%", "50.000%"), ("50.000%", "50.000%")]
    assert [column.result for column in chart.columns] == ["usual", "flagged"]
    assert len(chart.line.split()) == 2
    assert chart.columns[0].words.startswith("steps 1 to 10 · not judged · absolute 2 · l2 0.5 · percent undefined")
    assert "flagged (absolute: 1 to 3 expected)" in chart.columns[1].words
    assert chart.columns[1].words.endswith("mean loss 1")
