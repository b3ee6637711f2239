"""The paper's tables and figures, each from the runs it declares: ``narvl tables``."""
