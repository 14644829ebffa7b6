from tocsin.guard.estimate import FIRST_GUESS, Answers, Expected, Forecast, text_size


def test_counts_the_text_in_nested_items() -> None:
    assert 9 == text_size([{"role": "user", "content": [{"text": "hello"}]}, 5, None])


def test_pictures_are_not_read_letter_by_letter() -> None:
    assert 0 == text_size({"image_url": "data:image/png;base64," + "A" * 100_000})


def test_a_structure_without_end_is_given_up() -> None:
    endless: list[object] = ["abc"]
    endless.append(endless)

    assert text_size(endless) < 100


def test_first_call_is_measured_whole() -> None:
    assert 101 == Forecast(Answers()).input_tokens("x" * 200, [{"content": "y" * 200}])


def test_later_calls_add_what_is_new_to_what_was_read() -> None:
    forecast = Forecast(Answers())
    items: list[object] = [{"content": "y" * 200}]
    forecast.input_tokens(None, items)
    forecast.ended("m", 1_000, 10)

    assert 1_100 == forecast.input_tokens(None, [*items, {"content": "z" * 400}])


def test_a_history_that_became_shorter_is_measured_anew() -> None:
    forecast = Forecast(Answers())
    forecast.input_tokens(None, [{"content": "y" * 200}, {"content": "y"}])
    forecast.ended("m", 1_000, 10)

    assert 11 == forecast.input_tokens(None, [{"content": "y" * 40}])


def test_max_tokens_of_the_call_is_reserved_where_it_is_set() -> None:
    assert Expected(10, 500, False) == Forecast(Answers()).expect("m", 10, 500)


def test_first_answer_is_a_guess() -> None:
    assert Expected(10, FIRST_GUESS, True) == Forecast(Answers()).expect("m", 10, None)


def test_longest_answer_of_the_run_is_expected_again() -> None:
    forecast = Forecast(Answers())
    forecast.ended("m", 10, 90)
    forecast.ended("m", 10, 30)

    assert Expected(10, 90, False) == forecast.expect("m", 10, None)


def test_other_runs_inform_the_guess_and_outliers_fade() -> None:
    answers = Answers()
    Forecast(answers).ended("m", 10, 1_000)
    assert Expected(10, 1_000, True) == Forecast(answers).expect("m", 10, None)

    for _ in range(50):
        Forecast(answers).ended("m", 10, 20)
    assert Expected(10, 20, True) == Forecast(answers).expect("m", 10, None)


def test_models_remembered_are_bounded() -> None:
    answers = Answers()
    for number in range(5_000):
        answers.heard(f"m{number}", 1)

    assert len(answers._longest) <= 1_000
