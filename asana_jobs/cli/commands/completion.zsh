#compdef @NAME@
# zsh completion for @NAME@

_@FUNCTION@() {
  local curcontext=$curcontext state line ret=1
  local -A opt_args
  local -a commands=(
@COMMANDS@
  )

  _arguments -C \
    '(- *)'{--help,-h}'[Show the help page]' \
    '(- *)--version[Show the version]' \
    '1:command:->command' \
    '*::argument:->argument' && ret=0

  if [[ $state == command ]]; then
    _describe command commands && ret=0
  elif [[ $state == argument ]]; then
    # What follows a kind is what follows the command of that name.
    if [[ $words[1] == @BY_KIND@ && CURRENT -gt 2 && -n ${(M)commands:#$words[2]:*} ]]; then
      shift words
      ((CURRENT--))
    fi
    curcontext=${curcontext%:*:*}:@NAME@-$words[1]:
    case $words[1] in
@BRANCHES@
    esac && ret=0
  fi
  return ret
}

# Read from fpath it is the completion itself; read by a startup file it registers.
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _@FUNCTION@ "$@"
else
  (($+functions[compdef])) || { autoload -Uz compinit && compinit }
  compdef _@FUNCTION@ @NAME@
fi
