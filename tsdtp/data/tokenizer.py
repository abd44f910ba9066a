"""Tokenizers trained on the task's texts, for models that have no vocabulary of their own."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def _bert_tokenizer(model: models.Model, lower: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 2000, lower: bool = True, max_length: int = 512
) -> PreTrainedTokenizerFast:
    """Trains a BERT-like WordPiece tokenizer; the same texts give the same tokenizer.

    It writes `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, with token type 1 for b and its `[SEP]`.
    `[PAD]` has id 0.

    Args:
        texts: what to train on.
        vocab_size: limit on the number of word pieces, special tokens included; every letter of
            the texts is one, even beyond it.
        lower: lower-cases and strips accents.
        max_length: the tokenizer's `model_max_length`.

    Raises:
        ValueError: if there is no text.
    """
    tokenizer = _bert_tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]), lower)
    texts = [tokenizer.normalizer.normalize_str(text) for text in texts]
    letters = sorted(set().union(*texts) - {" "})
    if not letters:
        raise ValueError("cannot train a tokenizer: the texts are empty")
    # The trainer numbers the letters inside words in the order of a hash map, which differs from
    # run to run; named beforehand as special tokens they have fixed numbers.
    pieces = [*SPECIAL.values(), *letters, *(f"##{letter}" for letter in letters)]
    trainer = WordPieceTrainer(vocab_size=vocab_size, special_tokens=pieces, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # A tokenizer anew from the vocabulary, since there the letters are ordinary pieces again.
    trained = models.WordPiece(tokenizer.get_vocab(), unk_token=SPECIAL["unk_token"])
    tokenizer = _bert_tokenizer(trained, lower)
    specials = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=specials,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def train_bpe(
    texts: Iterable[str], vocab_size: int = 8000, max_length: int = 512
) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer for both sides of a translation.

    It writes `a </s>`, knows every character, and decodes to the text in Unicode's form NFC, up to
    spaces around it and special tokens in it. `<pad>` has id 0, `</s>` 1.

    Args:
        texts: what to train on.
        vocab_size: limit on the number of pieces; 259 for bytes and special tokens are always
            there.
        max_length: the tokenizer's `model_max_length`.

    Raises:
        ValueError: if there is no text.
    """
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = Tokenizer(models.BPE(unk_token=names["unk_token"]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = list(texts)
    if not any(texts):
        raise ValueError("cannot train a tokenizer: the texts are empty")
    tokenizer.train_from_iterator(texts, trainer)
    end = (names["eos_token"], tokenizer.token_to_id(names["eos_token"]))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )
