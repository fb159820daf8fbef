# bash completion for @NAME@

_@FUNCTION@() {
  local IFS=$' \t\n' typed=${COMP_WORDS[COMP_CWORD]} word words='' command='' option='' before='' file='' many=''
  local i place=0 joined=''
  local -a line=()

  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ ${#line[@]} -gt 0 && ( -n $joined || $word == [=:]* ) ]]; then
      line[${#line[@]}-1]+=$word
    else
      line+=("$word")
    fi
    [[ $word == *[=:] && $word != [^=:]* ]] && joined=1 || joined=''
  done

  for ((i = 0; i < ${#line[@]} - 1; i++)); do
    word=${line[i]}
    if [[ -n $option ]]; then
      option=''
    elif [[ $word == -?* ]]; then
      case $word in @WITH_VALUE@) option=$word ;; esac
    elif [[ -z $command ]]; then
      command=$word
    elif [[ $command == @BY_KIND@ && $place == 0 && ' @COMMANDS@ ' == *" $word "* ]]; then
      command=$word
    else
      ((place++))
    fi
  done

  word=${line[${#line[@]}-1]}
  [[ -z $option && $word == --*=* ]] && option=${word%%=*}
  [[ $typed == [=:]* ]] && typed=''
  if [[ -n $option && $typed == "$option="* ]]; then
    before=$option=
    typed=${typed#*=}
  fi

  if [[ -z $option && $word == -* ]]; then
    case $command in
    '') words='--help -h --version' ;;
@OPTIONS@
    esac
  elif [[ -z $command ]]; then
    words='@COMMANDS@'
  else
    case "$command ${option:-$place}" in
@VALUES@
    esac
  fi

  COMPREPLY=()
  if [[ -n $file ]]; then
    # Readline completes files itself, and knows about folders, blanks and ~.
    compopt -o default 2>/dev/null || { IFS=$'\n'; COMPREPLY=($(compgen -f -- "$typed")); }
    return
  fi
  if [[ -n $many ]]; then
    before+=${typed%"${typed##*,}"}
    typed=${typed##*,}
    compopt -o nospace 2>/dev/null
  fi
  for word in $words; do
    [[ $word == "$typed"* && ( -z $many || ",$before" != *",$word,"* ) ]] && COMPREPLY+=("$before$word")
  done
}

complete -F _@FUNCTION@ @NAME@
