from benchmarks.timing import interleaved, summary


def test_competitors_take_turns():
    calls = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "ABC"}, rounds=3)
    assert "".join(calls) == "ABC" + 3 * "ABC"
    assert [len(timing["rounds"]) for timing in timings.values()] == [3, 3, 3]


def test_quartiles_are_of_the_rounds_alone():
    timing = summary(first_call=100.0, rounds=[5.0, 1.0, 2.0, 4.0, 3.0])
    assert (timing["q1"], timing["median"], timing["q3"]) == (2.0, 3.0, 4.0)
    assert timing["first_call"] == 100.0
