from tocsin.runs.conversations import MAX_CONVERSATIONS, Conversations


def test_runs_are_counted_per_conversation() -> None:
    conversations = Conversations()

    assert [1, 2, 1, 3] == [conversations.continue_one(name) for name in "aaba"]


def test_least_recently_continued_is_forgotten() -> None:
    conversations = Conversations()
    conversations.continue_one("old")
    conversations.continue_one("older but continued")
    for n in range(MAX_CONVERSATIONS - 2):
        conversations.continue_one(str(n))
    conversations.continue_one("older but continued")
    conversations.continue_one("one too many")

    assert (3, 1) == (
        conversations.continue_one("older but continued"),
        conversations.continue_one("old"),
    )


def test_number_of_conversations_is_bounded() -> None:
    conversations = Conversations()
    for n in range(3 * MAX_CONVERSATIONS):
        conversations.continue_one(str(n))

    assert MAX_CONVERSATIONS == len(conversations._runs)
