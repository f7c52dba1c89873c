# -*- test-case-name: tests.test_ctl_completion -*-
"""
Shell completion: scripts for bash and zsh, made from the words and options that there are.

Names of nodes and switches are asked of the manager while Tab is pressed (``piman status --names``), names of
images and tags as well (``piman images --names``).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.python import usage

from piman.words import Words

SHELLS = ("bash", "zsh")
TAKE_NODES = ("restart", "reinstall", "status", "why", "events", "find-port")
"""Words that names of nodes follow."""
IMAGE_ACTS = ("set-default", "assign", "unassign")
"""What may follow ``image``."""


class CompletionOptions(Words):
    """``piman completion``"""

    command = "piman completion"
    synopsis = "bash|zsh"
    longdesc = "Prints a script that makes Tab complete words, options, nodes and switches."
    examples = (
        "  piman completion bash > /etc/bash_completion.d/piman     for everybody\n"
        '  eval "$(piman completion bash)"                          for this shell\n'
        "  piman completion zsh > ~/.zfunc/_piman                   with fpath+=~/.zfunc before compinit\n"
    )

    def parseArgs(self, *names: str) -> None:
        """One shell."""
        if len(names) != 1 or names[0] not in SHELLS:
            raise usage.UsageError(f"found {' '.join(names) or 'nothing'}, expected {' or '.join(SHELLS)}")
        self["shell"] = names[0]


Rows = Sequence[Sequence[Any]]
"""Words as Twisted has them: name, short name, options, what it does."""


def script(shell: str, rows: Rows) -> str:
    """The script for a shell."""
    return (_bash if shell == "bash" else _zsh)(rows)


def options_of(parser: type[usage.Options]) -> list[str]:
    """The long options of a word."""
    return sorted(f"--{name.rstrip('=')}" for name in parser().longOpt)


def _cases(rows: Rows) -> Iterable[str]:
    for name, _, parser, _ in rows:
        yield f'        {name}) options="{" ".join(options_of(parser))}" ;;'


_BASH = """\
# piman completion for bash
_piman() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" word="${{COMP_WORDS[1]}}"
    local options
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{words} --help --version" -- "$current"))
        return
    fi
    case "$word" in
{cases}
        *) return ;;
    esac
    case "$before" in
        --config|-c|--socket|-s|--directory|-d) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$current")); return ;;
    esac
    case "$word" in
        {nodes}) COMPREPLY=($(compgen -W "$(piman status --names 2>/dev/null)" -- "$current")) ;;
        power)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "on off" -- "$current"))
            else
                COMPREPLY=($(compgen -W "$(piman status --names 2>/dev/null)" -- "$current"))
            fi ;;
        image)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "{acts}" -- "$current"))
            elif [ "$COMP_CWORD" -eq 3 ] && [ "${{COMP_WORDS[2]}}" != unassign ]; then
                COMPREPLY=($(compgen -W "$(piman images --names 2>/dev/null | grep -v ^tag:)" -- "$current"))
            elif [ "$before" = : ] || [ "$current" = : ]; then  # bash takes tag:NAME for three words
                COMPREPLY=($(compgen -W "$(piman images --names 2>/dev/null | sed -n s/^tag://p)" -- "${{current#:}}"))
            else
                COMPREPLY=($(compgen -W "$(piman status --names 2>/dev/null
                    piman images --names 2>/dev/null | grep ^tag:)" -- "$current"))
            fi ;;
        completion) COMPREPLY=($(compgen -W "{shells}" -- "$current")) ;;
    esac
}}
complete -F _piman piman
"""

_ZSH = """\
#compdef piman
# piman completion for zsh
_piman() {{
    local -a found
    local options
    if (( CURRENT == 2 )); then
        found=(
{described}
        )
        _describe word found
        return
    fi
    case "${{words[2]}}" in
{cases}
        *) return ;;
    esac
    case "${{words[CURRENT - 1]}}" in
        --config|-c|--socket|-s|--directory|-d) _files; return ;;
    esac
    if [[ "${{words[CURRENT]}}" == -* ]]; then
        compadd -- ${{=options}}
        return
    fi
    case "${{words[2]}}" in
        {nodes}) compadd -- ${{(f)"$(piman status --names 2>/dev/null)"}} ;;
        power)
            if (( CURRENT == 3 )); then
                compadd on off
            else
                compadd -- ${{(f)"$(piman status --names 2>/dev/null)"}}
            fi ;;
        image)
            if (( CURRENT == 3 )); then
                compadd {acts}
            elif (( CURRENT == 4 )) && [[ "${{words[3]}}" != unassign ]]; then
                compadd -- ${{(f)"$(piman images --names 2>/dev/null | grep -v ^tag:)"}}
            else
                compadd -- ${{(f)"$(piman status --names 2>/dev/null; piman images --names 2>/dev/null | grep ^tag:)"}}
            fi ;;
        completion) compadd {shells} ;;
    esac
}}
if [ "$funcstack[1]" = "_piman" ]; then
    _piman "$@"
else
    compdef _piman piman
fi
"""


def _bash(rows: Rows) -> str:
    words = " ".join(row[0] for row in rows)
    cases = "\n".join(_cases(rows))
    return _BASH.format(words=words, cases=cases, **_lists())


def _zsh(rows: Rows) -> str:
    described = "\n".join(f"            '{row[0]}:{_quoted(row[3])}'" for row in rows)
    cases = "\n".join(_cases(rows))
    return _ZSH.format(described=described, cases=cases, **_lists())


def _lists() -> dict[str, str]:
    """What both scripts name."""
    return {"nodes": "|".join(TAKE_NODES), "shells": " ".join(SHELLS), "acts": " ".join(IMAGE_ACTS)}


def _quoted(text: str) -> str:
    return text.replace("'", "'\\''").replace(":", "\\:")
