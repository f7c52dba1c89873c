# -*- test-case-name: tests.test_importing_sources -*-
"""
Why an import ends without a result, in words that an operator can act on.
"""


class ImportRefused(Exception):
    """
    The file, or this machine, is not fit for an import; nothing of the operator's was changed.

    :param found: what there is.
    :param expected: what there should be.
    :param remedy: what to do.
    :param passing: whether the same file may be accepted later; then what is finished of the import is kept.
    """

    def __init__(self, found: str, *, expected: str, remedy: str, passing: bool = False) -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.passing = passing
        super().__init__(f"{found}; expected {expected}: {remedy}")


DOWNLOAD_AGAIN = "download it again and compare its SHA-256 with the one on the download page"
"""The remedy for damage."""
