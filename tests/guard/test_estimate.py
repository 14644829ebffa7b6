from tocsin.guard.estimate import DOUBT, FIRST_GUESS, Expected, Forecast, Habits, text_size


def test_counts_the_text_in_nested_items() -> None:
    assert 9 == text_size([{"role": "user", "content": [{"text": "hello"}]}, 5, None])


def test_pictures_are_not_read_letter_by_letter() -> None:
    assert 0 == text_size({"image_url": "data:image/png;base64," + "A" * 100_000})


def test_a_structure_without_end_is_given_up() -> None:
    endless: list[object] = ["abc"]
    endless.append(endless)

    assert text_size(endless) < 100


def test_first_call_is_measured_whole() -> None:
    assert 101 == Forecast(Habits()).input_tokens("x" * 200, [{"content": "y" * 200}])


def ended(forecast: Forecast, read: int, written: int, expected_read: int = 10) -> None:
    forecast.ended("m", forecast.expect("m", expected_read, None), read, written)


def test_later_calls_add_what_is_new_to_what_was_read() -> None:
    forecast = Forecast(Habits())
    items: list[object] = [{"content": "y" * 200}]
    forecast.input_tokens(None, items)
    ended(forecast, 1_000, 10)

    assert 1_100 == forecast.input_tokens(None, [*items, {"content": "z" * 400}])


def test_a_history_that_became_shorter_is_measured_anew() -> None:
    forecast = Forecast(Habits())
    forecast.input_tokens(None, [{"content": "y" * 200}, {"content": "y"}])
    ended(forecast, 1_000, 10)

    assert 11 == forecast.input_tokens(None, [{"content": "y" * 40}])


def test_max_tokens_of_the_call_is_reserved_where_it_is_set() -> None:
    assert Expected(10, 500, 10, 500, DOUBT) == Forecast(Habits()).expect("m", 10, 500)


def test_first_answer_of_a_model_is_a_doubtful_guess() -> None:
    assert Expected(10, 0, 10, FIRST_GUESS, DOUBT) == Forecast(Habits()).expect("m", 10, None)


def test_longest_answer_of_the_run_is_expected_again() -> None:
    forecast = Forecast(Habits())
    ended(forecast, 10, 90)
    ended(forecast, 10, 30)

    assert Expected(10, 90, 10, 90) == forecast.expect("m", 10, None)


def test_other_runs_inform_the_guess() -> None:
    habits = Habits()
    ended(Forecast(habits), 110, 1_000)  # 10 were expected: 100 were not in the text

    assert Expected(10, 0, 110, 1_000) == Forecast(habits).expect("m", 10, None)


def test_outliers_fade() -> None:
    habits = Habits()
    ended(Forecast(habits), 10_000, 1_000)
    for _ in range(100):
        ended(Forecast(habits), 10, 20)

    assert Expected(10, 0, 10, 20) == Forecast(habits).expect("m", 10, None)


def test_models_remembered_are_bounded() -> None:
    habits = Habits()
    for number in range(5_000):
        habits.heard(f"m{number}", 1, None)

    assert len(habits._habits) <= 1_000
