"""The Python tokenizer by worked examples and against the Java one; the Java one against pycocoevalcap's own class."""

from __future__ import annotations

import stat

import pytest

from narvl.errors import UsageError
from narvl.evaluation.java import java_version
from narvl.evaluation.tokenizers import tokenize_ptb, tokenize_python

needs_java = pytest.mark.skipif(java_version() is None, reason="needs Java")

WORKED = {
    "A man's dog, isn't it?": "a man 's dog is n't it",
    "I'm sure you're right; we've won.": "i 'm sure you 're right we 've won",
    "a boy 's hat .": "a boy 's hat",
    "a black-and-white cat / dog": "a black-and-white cat / dog",
    "it's 3.5 o'clock -- at 10:30 p.m.": "it 's 3.5 o'clock at 10:30 p.m.",
    "the dogs' ball": "the dogs ball",
    "(left) [right] {both}": "-lrb- left -rrb- -lsb- right -rsb- -lcb- both -rcb-",
    "1,000 #1 & 50% @ home": "1,000 # 1 & 50 % @ home",
    "caf\u00e9 \u201cna\u00efve\u201d \u2026 \u2014 end...": "caf\u00e9 na\u00efve end",
    "  two \t blanks\nand a line ": "two blanks and a line",
    "u.s. x.y a.b.c": "u.s. x.y a.b.c",
    "": "",
    " . ": "",
}


@pytest.mark.parametrize(("caption", "tokens"), WORKED.items())
def test_python_tokens(caption, tokens):
    assert tokenize_python([caption]) == [tokens]


@needs_java
def test_ptb_gives_the_same_tokens():
    assert tokenize_ptb(list(WORKED)) == list(WORKED.values())


@needs_java
def test_ptb_is_pycocoevalcaps_tokenizer(capfd):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = [caption for caption in WORKED if caption.isascii()]
    theirs = PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})
    capfd.readouterr()
    assert tokenize_ptb(captions) == [theirs[i][0] for i in range(len(captions))]
    assert capfd.readouterr() == ("", "")


@needs_java
def test_ptb_keeps_line_breaks_of_other_alphabets_inside_a_caption():
    assert tokenize_ptb(["a\u2028b\x85c\rd", "e"]) == ["a b c d", "e"]


def test_failing_java_is_an_error_not_fewer_captions(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho a dog\necho out of memory >&2\nexit 1\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match=r"1 of 2 captions and exit code 1: 'out of memory'.*Python tokenizer"):
        tokenize_ptb(["a dog", "a cat"])


def test_python_equals_ptb_on_photo_captions(shared):
    import csv

    if java_version() is None:
        pytest.skip("needs Java")
    with (shared / "data" / "flickr-photos" / "captions.csv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    assert len(captions) > 1000
    assert tokenize_python(captions) == tokenize_ptb(captions)
