import pytest

from tsdtp.data.synthetic import generate
from tsdtp.data.tokenizer import train_tokenizer


def test_single_and_pair_are_laid_out_like_bert(tokenizer):
    encoded = tokenizer("good", "so bad")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["[CLS]", "good", "[SEP]", "so", "bad", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert tokenizer("good")["token_type_ids"] == [0, 0, 0]


def test_special_tokens_come_first(tokenizer):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.convert_tokens_to_ids(specials) == [0, 1, 2, 3, 4]
    assert tokenizer.pad_token_id == 0
    assert set(tokenizer.all_special_tokens) == set(specials)
    assert tokenizer.decode(tokenizer("so bad")["input_ids"], skip_special_tokens=True) == "so bad"


def test_unseen_words_fall_into_pieces_and_unseen_letters_are_unknown(tokenizer):
    assert tokenizer.tokenize("goodso") == ["good", "##s", "##o"]
    assert tokenizer.tokenize("ж") == ["[UNK]"]


def test_case_is_dropped_or_kept():
    assert train_tokenizer(["Good"]).tokenize("GOOD") == ["good"]
    assert train_tokenizer(["Good"], lower=False).tokenize("Good") == ["Good"]


def test_vocabulary_is_limited():
    texts = [row["text"] for row in generate("sentence", 200)]
    assert len(train_tokenizer(texts, vocab_size=100)) == 100


def test_generated_words_are_whole_tokens():
    texts = [row["text"] for row in generate("sentence", 3000)]
    tokenizer = train_tokenizer(texts)
    assert all(len(tokenizer.tokenize(text)) == len(text.split()) for text in texts[:100])


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="the texts are empty"):
        train_tokenizer(["", "  "])
