"""Configuration that some tasks share: of prompts that hold a text of the row, and of answers from a list.

No postponed annotations here: fairseq reads the fields' types at run time.
"""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum


@dataclass
class PromptConfig:
    """Fields that these tasks add to ``VisionLanguageConfig``."""

    max_src_words: int = field(
        default=80, metadata={"help": "words of a question, expression, hypothesis or caption kept in the prompt"}
    )


@dataclass
class AnswerConfig:
    """Fields of tasks whose answer may be one of a list."""

    candidate_search: ChoiceEnum(["beam", "trie", "all"]) = field(  # type: ignore[valid-type]
        default="beam",
        metadata={
            "help": "autoregressive models: beam search over any text, over the candidate answers alone (trie), or"
            " score all of them"
        },
    )


@dataclass
class ReferencesConfig:
    """Fields of tasks whose rows may have several right outputs."""

    references: ChoiceEnum(["first", "all"]) = field(  # type: ignore[valid-type]
        default="first",
        metadata={
            "help": "of a row's captions (or answers), learn the first (the surest) alone, or all of them at once"
            " (--criterion query_ctc). narvl group joins the rows of an image"
        },
    )
