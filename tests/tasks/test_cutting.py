"""Cutting texts as the sentences of the training data are cut."""

from regard.tasks._cutting import Cutting

TREEBANK = [
    one.split()
    for one in ("They do n't like the U.S. .", 'Ada \'s " house " , I say , is 2.5 m wide ( well-known )', "It rains .")
]
TWEETS = [
    "@ada don't go to http://t.co/x1 #now !!! It rains .".split(),
    "It's @bob's :) , see http://t.co/y2 .".split(),
]


def test_each_data_set_is_cut_in_its_own_way() -> None:
    """What one data set takes apart another keeps whole; places that neither shows are cut between signs."""
    treebank, tweets = Cutting.learnt(TREEBANK * 5), Cutting.learnt(TWEETS * 5)
    assert treebank.cut("I don't see John's, (U.S.) 7.5 e-mail.") == (
        ["I", "do", "n't", "see", "John", "'s", ",", "(", "U.S.", ")", "7.5", "e-mail", "."]
    )
    assert tweets.cut("I don't @see John's http://t.co/abc#d.") == (
        ["I", "don't", "@see", "John's", "http://t.co/abc#d", "."]
    )
    assert treebank.agreement == tweets.agreement == 1
    assert "100%" in str(treebank)


def test_without_training_signs_stand_alone() -> None:
    """Each sign is a word, and each sign of Chinese and Japanese; marks belong to their letters."""
    plain = Cutting.from_dict(None)
    assert plain.cut("Anna's U.S. trip") == ["Anna", "'", "s", "U", ".", "S", ".", "trip"]
    assert plain.cut("王小明来London。かな") == ["王", "小", "明", "来", "London", "。", "か", "な"]
    assert plain.cut("हिन्दी é") == ["हिन्दी", "é"]
    assert str(plain) == "text is cut into words at blanks and signs"


def test_spans_are_places_in_the_text() -> None:
    """Every word is its span, whatever white space stands between; the state survives writing."""
    cutting = Cutting.from_dict(Cutting.learnt(TREEBANK).to_dict())
    text = "  They\tdo n't\n\nlike\u3000it. "
    assert [text[start:end] for start, end in cutting.spans(text)] == ["They", "do", "n't", "like", "it", "."]
    assert cutting.spans("") == cutting.spans(" \n") == []


def test_a_long_text_is_divided() -> None:
    """More words than the longest training sentence end at signs and line ends; all words stay, in order."""
    cutting = Cutting.learnt([["It", "rains", "."], ["Ada", "wrote", "it", "."]] * 3)
    text = "It rains. Ada wrote\nit all day, on and on"
    parts = [[text[start:end] for start, end in part] for part in cutting.sentences(text)]
    assert parts[0] == ["It", "rains", "."]
    assert parts[1] == ["Ada", "wrote"]
    assert [word for part in parts for word in part] == cutting.cut(text)
    assert len(cutting.sentences("It rains .")) == 1
    assert cutting.sentences("") == [[]]
