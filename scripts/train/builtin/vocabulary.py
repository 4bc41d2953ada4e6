"""The vocabulary of the built-in model: words of code and of its documentation, and their pieces.

The tokenizer cuts at changes of case, lower-cases, cuts at blanks and marks, and takes WordPiece
over the vocabulary: `readHTTPHeader_2` becomes `read http header _ 2`.
"""

import re
import string
from array import array
from collections import Counter, defaultdict

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

# Where a change of case ends a word: `aB`, and `ABc` before its `Bc`.
CASE = "(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
# The same cuts and BERT's, for ASCII, as one pattern of what a word is.
WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]*[a-z0-9]+|[A-Z]+|[^\sA-Za-z0-9]")
UNKNOWN = "[UNK]"
PIECES = 6000
LONGEST = 100


def words(text):
    return [word.lower() for word in WORD.findall(text)]


def build(columns, packages, size):
    """Chooses the tokens: each ASCII character, pieces learnt by WordPiece's rule over the
    distinct words, and the words that occur in most packages.

    `columns` are lists of texts of equal length, `packages` names the package of each.
    """
    spread, count, last = Counter(), Counter(), {}
    by_package = defaultdict(list)
    for i, name in enumerate(packages):
        by_package[name].append(i)
    for rows in by_package.values():
        here = Counter()
        for column in columns:
            for i in rows:
                here.update(WORD.findall(column[i]))
        folded = Counter()
        for word, n in here.items():
            folded[word.lower()] += n
        spread.update(folded.keys())
        count.update(folded)
    good = [w for w in spread if w.isascii() and w.isalnum() and len(w) <= 40]
    base = [UNKNOWN, *string.punctuation, *string.digits, *string.ascii_lowercase]
    base += ["##" + c for c in string.digits + string.ascii_lowercase]
    tokens = dict.fromkeys(base)
    trained = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=PIECES, min_frequency=2, show_progress=False)
    trained.train_from_iterator(sorted(w for w in good if spread[w] >= 3), trainer)
    tokens.update(dict.fromkeys(sorted(w for w in trained.get_vocab() if w.isascii())))
    # A long number, or a rare mix of digits and letters, is not worth a row of its own.
    ranked = sorted(good, key=lambda w: (-spread[w], -count[w], w))
    for word in ranked:
        if len(tokens) >= size:
            break
        if word.isalpha() or len(word) <= 3 or (not word.isdigit() and spread[word] >= 10):
            tokens[word] = None
    return list(tokens)[:size]


def tokenizer_json(tokens):
    """Returns the contents of tokenizer.json."""
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": CASE}, "content": " "},
            {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
             "strip_accents": None, "lowercase": True},
        ]},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": LONGEST, "vocab": {t: i for i, t in enumerate(tokens)}},
    }


class Encoder:
    """Makes the ids that tokenizer.json makes of ASCII text; each word is cut once."""

    def __init__(self, tokens):
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.known = {}

    def cut(self, word):
        low, ids, start = word.lower(), [], 0
        while start < len(low):
            for end in range(len(low), start, -1):
                piece = low[start:end] if start == 0 else "##" + low[start:end]
                if piece in self.ids:
                    break
            else:
                return (self.ids[UNKNOWN],)
            ids.append(self.ids[piece])
            start = end
        return tuple(ids) if len(low) <= LONGEST else (self.ids[UNKNOWN],)

    def encode(self, text):
        """Returns the ids of a text as an array of unsigned 16-bit numbers."""
        out, known = array("H"), self.known
        for word in WORD.findall(text):
            ids = known.get(word)
            if ids is None:
                ids = known[word] = self.cut(word)
            out.extend(ids)
        return out
