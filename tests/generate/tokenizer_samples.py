"""The texts that tokenizers are compared on; tests/support/tokenizer_samples.cc makes the same ones.

First the lines of goldens/tokenizer_text.txt, then blocks of ten lines, then 10,000 random strings.
"""

import pathlib

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
NUM_RANDOM = 10_000
MASK = (1 << 64) - 1

SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n", "\n ", "\u00a0", "\u3000",
          "\u2028", "\u0085", "\v", "\f", "\u1680", "\u200b"]
DIGITS = ["0", "1", "12", "123", "2024", "3.14", "\u0663", "\u2167", "\u00bd", "\uff11", "\u0967",
          "\u00b2"]
CONTRACTIONS = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'LL", "'d", "'", "''", "'\u017f",
                "'l", "'r"]
WORDS = ["the", "Hello", " of", " and", "World", "x", "ing", "\u2581", "\u2581the", "<0x41>", "<",
         "|>", "e\u0301", "\u1e9b\u0323", "\u1100\u1161\u11a8", "\u212b", "\u0344", "<unk>"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<start_of_turn>", "<end_of_turn>",
            "<bos>", "<eos>", "<table>", "</td>", "<|im_start", "[multimodal]", "<unused9>",
            "<repo_name>"]


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def of(self, choices):
        return choices[self.below(len(choices))]


def scalar(random, end):
    """Any character below end that exists: neither a surrogate nor one of those about which the two
    parts of the reference (Rust's standard library, Oniguruma) differ, since one is newer."""
    c = random.below(end)
    if 0xD800 <= c < 0xE000 or 0x11DE0 <= c <= 0x11DE9 or 0x16FF4 <= c <= 0x16FF6:
        c = 0x41
    return chr(c)


def random_piece(random, text):
    kind = random.below(18)
    if kind < 4:
        return chr(0x20 + random.below(95))
    if kind == 4:
        return random.of(SPACES)
    if kind == 5:
        return random.of(DIGITS)
    if kind == 6:
        return random.of(CONTRACTIONS)
    if kind == 7:
        return chr(0xA0 + random.below(0x250))
    if kind == 8:
        return chr(0x300 + random.below(0x70))
    if kind == 9:
        return chr(0x4E00 + random.below(0x5200))
    if kind == 10:
        return chr(0xAC00 + random.below(11172))
    if kind == 11:
        return chr(0x1F300 + random.below(0x400)) + ("\u200d" if random.below(2) else "")
    if kind == 12:
        return scalar(random, 0x110000)
    if kind == 13:
        return scalar(random, 0x10000)
    if kind == 14:
        return (text[-1] if text else "a") * random.below(40)
    if kind == 15:
        return random.of(SPECIALS)
    return random.of(WORDS)


def random_text(index):
    random = Random(index)
    text = ""
    for _ in range(1 + random.below(24)):
        text += random_piece(random, text)
    return text


def samples():
    lines = (GOLDENS / "tokenizer_text.txt").read_bytes().decode().split("\n")[:-1]
    blocks = ["\n".join(lines[i:i + 10]) for i in range(0, len(lines), 10)]
    return lines + blocks + [random_text(i) for i in range(NUM_RANDOM)]
