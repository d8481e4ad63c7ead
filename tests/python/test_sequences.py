"""The texts that a model is calibrated on: shares, chats, lengths, and what is refused."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models
from armor_core.calibration.text import Frame
from armor_core.compression import sequences
from armor_core.compression.sequences import Text, make_sequences, shares, spread

BARE = Frame([], [])


@pytest.fixture
def tokens():
    return tiny_models.tokenizer(bos=False)


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def make(texts, tokens, size, frame=BARE):
    """The sequences, and what was said."""
    said = []
    return make_sequences(texts, tokens, frame, size, said.append), said


def test_sequences_come_from_all_over_the_text(tmp_path, tokens):
    text = "".join(chr(ord("a") + index) * 10 for index in range(20))
    made, said = make([Text(written(tmp_path, "a.txt", text), 1.0)], tokens, (50, 10))
    assert [tokens.decode(sequence) for sequence in made] == [letter * 10 for letter in "cgkos"]
    assert said == []


def test_weights_divide_the_tokens(tmp_path, tokens):
    texts = [
        Text.parse(f"{written(tmp_path, name, letter * 900)}:{weight}")
        for name, letter, weight in (("a.txt", "a", 3), ("b.txt", "b", 1))
    ]
    made, _ = make(texts, tokens, (400, 10))
    starts = [tokens.decode(sequence)[0] for sequence in made]
    assert (starts.count("a"), starts.count("b")) == (30, 10)


def test_shares_are_by_largest_remainder_and_at_least_one():
    assert shares([1, 1, 1], 10) == [4, 3, 3]
    assert shares([5, 3, 2], 10) == [5, 3, 2]
    assert shares([1000, 1], 4) == [3, 1]
    assert shares([0.3], 7) == [7]


def test_spread_takes_all_where_there_are_no_more():
    pieces = [[index] for index in range(5)]
    assert spread(pieces, 9) == pieces
    assert spread(pieces, 1) == [[2]]


def test_a_path_with_a_colon_is_a_path_if_it_is_there(tmp_path):
    path = written(tmp_path, "part:2", "text")
    assert Text.parse(str(path)) == Text(path, 1.0)
    assert Text.parse(f"{path}:0.5") == Text(path, 0.5)
    for weight in ("-1", "0", "nan", "inf", "1e308"):
        with pytest.raises(ValueError, match=f"the weight {weight} is not from"):
            Text.parse(f"a.txt:{weight}")


def test_every_sequence_has_the_tokens_around_a_text(tmp_path, tokens):
    path = written(tmp_path, "a.txt", "x" * 100)
    made, _ = make([Text(path, 1.0)], tokens, (40, 10), Frame([256], [257]))
    assert [len(sequence) for sequence in made] == [10] * 4
    assert all(sequence[0] == 256 and sequence[-1] == 257 for sequence in made)
    with pytest.raises(ValueError, match="no room"):
        make([Text(path, 1.0)], tokens, (40, 2), Frame([256], [257]))


def test_chats_go_through_the_chat_template(tmp_path, tokens):
    tokens.chat_template = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"
    chats = [
        {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]},
        [{"role": "user", "content": "three"}],
    ]
    path = written(tmp_path, "chats.jsonl", "\n".join(map(json.dumps, chats)) + "\n\n")
    made, _ = make([Text(path, 1.0)], tokens, (5, 5))
    assert len(made) == 1
    words = tokens.decode(Text(path, 1.0).numbers(tokens, print))
    assert words == "[user: one][assistant: two][user: three]"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: "),
        ('{"text": "x"}', "line 2: has no key 'messages'"),
        ('{"messages": [{"role": 1}]}', "line 2: "),
        ('{"messages": "hello"}', "line 2: expected a list of messages"),
        ("null", "line 2: expected a list of messages"),
    ],
)
def test_a_bad_line_of_chats_is_named(tmp_path, tokens, line, problem):
    tokens.chat_template = "{% for m in messages %}{{ m.content + '.' }}{% endfor %}"
    path = written(tmp_path, "chats.jsonl", f'[{{"role": "user", "content": "a"}}]\n{line}\n')
    with pytest.raises(ValueError, match=f"chats.jsonl: {problem}"):
        make([Text(path, 1.0)], tokens, (10, 5))


def test_short_texts_are_said_or_refused(tmp_path, tokens):
    long, short = written(tmp_path, "long.txt", "a" * 200), written(tmp_path, "short.txt", "b" * 7)
    made, said = make([Text(long, 1.0), Text(short, 1.0)], tokens, (100, 20))
    assert {len(sequence) for sequence in made} == {7}
    assert any("7 tokens of text instead of 20" in line for line in said)
    assert any("holds 1 of the 7 sequences that are its share" in line for line in said)
    assert len(made) == 8
    with pytest.raises(ValueError, match="holds 1 tokens"):
        make([Text(written(tmp_path, "one.txt", "a"), 1.0)], tokens, (100, 20))
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match="not UTF-8, from byte 3"):
        make([Text(bad, 1.0)], tokens, (100, 20))
    with pytest.raises(FileNotFoundError):
        make([Text(tmp_path / "none.txt", 1.0)], tokens, (100, 20))


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path, tokens):
    tokens.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for name, text in (("a.txt", "one"), ("a.jsonl", '[{"role": "user", "content": "one"}]')):
        path = written(tmp_path, name, f"\ufeff{text}")
        assert tokens.decode(Text(path, 1.0).numbers(tokens, print)) == "one"


def test_a_line_of_chats_ends_with_a_line_feed_alone(tmp_path, tokens):
    tokens.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    chats = [[{"role": "user", "content": f"a{end}b"}] for end in "\u2028\u2029\x85"]
    path = tmp_path / "a.jsonl"
    path.write_bytes("\r\n".join(json.dumps(chat, ensure_ascii=False) for chat in chats).encode())
    assert tokens.decode(Text(path, 1.0).numbers(tokens, print)) == "a\u2028ba\u2029ba\x85b"


def test_a_long_text_is_cut_at_the_end_of_a_line_or_of_a_character(tmp_path, tokens, monkeypatch):
    for text, wanted in (
        ("abc\ndefgh", "abc"),
        ("abcdefgh", "abcdef"),
        ("abcd\u20ac\u20ac", "abcd"),
        ("abc\u20ac\u20ac", "abc\u20ac"),
    ):
        monkeypatch.setattr(sequences, "MOST_BYTES", 6)
        path = written(tmp_path, "a.txt", text)
        said = []
        assert tokens.decode(Text(path, 1.0).numbers(tokens, said.append)) == wanted
        assert len(said) == 1


def test_what_is_no_file_is_named(tmp_path):
    Text(written(tmp_path, "a.txt", "text"), 1.0).check()
    with pytest.raises(ValueError, match="is a folder"):
        Text(tmp_path, 1.0).check()
    with pytest.raises(ValueError, match=r"none\.txt is not there"):
        Text(tmp_path / "none.txt", 1.0).check()


def test_more_tokens_than_wanted_are_said(tmp_path, tokens):
    texts = [Text(written(tmp_path, name, "a" * 200), 1.0) for name in ("a.txt", "b.txt")]
    assert make(texts, tokens, (45, 20)) == (make(texts, tokens, (40, 20))[0], [])
    made, said = make(texts, tokens, (10, 20))
    assert len(made) == 2
    assert said == ["--tokens: 40 instead of 10, so that every text has a sequence of 20"]
