"""completion: scripts that make a shell complete our command lines. Each asks `PROGRAM __complete WORDS…`."""

from __future__ import annotations

import sys

from onggi.cli.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.command import Context
    from onggi.cli.flags import Options

_BASH = """\
# bash completion for {program}: source <({program} completion bash)
_{name}_complete() {{
    local IFS=$'\\n' answer directive word
    answer=$({program} __completeNoDesc "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null) || return
    directive=${{answer##*:}}
    answer=${{answer%:*}}
    COMPREPLY=()
    local current=${{COMP_WORDS[COMP_CWORD]}}
    for word in $answer; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
    (( directive & 2 )) && compopt -o nospace 2>/dev/null
    if (( ! (directive & 4) )) && [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
    fi
    # A colon ends a word for readline: what stands before it is typed already.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        local typed=${{current%"${{current##*:}}"}} at
        for at in "${{!COMPREPLY[@]}}"; do COMPREPLY[at]=${{COMPREPLY[at]#"$typed"}}; done
    fi
}}
complete -F _{name}_complete {program}
"""
_ZSH = """\
#compdef {program}
# zsh completion for {program}: source <({program} completion zsh)
_{name}_complete() {{
    local answer directive line
    local -a found
    answer=$({program} __complete "${{(@)words[2,$CURRENT]}}" 2>/dev/null) || return
    directive=${{answer##*:}}
    for line in ${{(f)answer%:*}}; do
        line=${{line//:/\\\\:}}
        found+=("${{line/$'\\t'/:}}")
    done
    if (( ${{#found}} )); then
        if (( directive & 2 )); then _describe -V '{program}' found -S ''; else _describe -V '{program}' found; fi
    elif (( ! (directive & 4) )); then
        _files
    fi
}}
compdef _{name}_complete {program}
"""
_FISH = """\
# fish completion for {program}: {program} completion fish | source
function __{name}_complete
    set -l words (commandline -opc) (commandline -ct)
    {program} __complete $words[2..-1] 2>/dev/null | string match -v -r '^:\\d+$'
end
function __{name}_files
    set -l words (commandline -opc) (commandline -ct)
    set -l directive ({program} __complete $words[2..-1] 2>/dev/null | string match -r '^:\\d+$' | string sub -s 2)
    test -n "$directive"; and test (math "bitand($directive, 4)") -eq 0
end
complete -c {program} -f -a '(__{name}_complete)'
complete -c {program} -F -n __{name}_files
"""
_POWERSHELL = """\
# PowerShell completion for {program}: {program} completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName '{program}' -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object {{ $_.ToString() }})
    if ($wordToComplete -eq '') {{ $words += '' }}
    & {program} __complete @words 2>$null | Where-Object {{ $_ -notmatch '^:\\d+$' }} | ForEach-Object {{
        $name, $text = $_ -split "`t", 2
        if (-not $text) {{ $text = $name }}
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $text)
    }}
}}
"""


def _prints(script: str) -> Callable[[Context, Options, list[str]], None]:
    def run(context: Context, options: Options, words: list[str]) -> None:
        del options, words
        name = "".join(letter if letter.isalnum() else "_" for letter in context.program)
        sys.stdout.write(script.format(program=context.program, name=name))

    return run


_FLAGS = "   --no-descriptions bool  Has no effect: the script's shell decides\n"
COMMANDS = {
    shell: Command(_prints(script), "", f"Generate the autocompletion script for {shell}", _FLAGS, most=0)
    for shell, script in (("bash", _BASH), ("fish", _FISH), ("powershell", _POWERSHELL), ("zsh", _ZSH))
}
