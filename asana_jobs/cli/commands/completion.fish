# fish completion for @NAME@

# Whether the cursor is in a command, and at one of its arguments if its number is given.
function __@FUNCTION@_at --argument-names command place
    set -l found
    set -l count 0
    set -l skip no
    for word in (commandline -opc)[2..]
        if test $skip = yes
            set skip no
        else if contains -- $word @WITH_VALUE@
            set skip yes
        else if string match -qr -- '^-.' $word
            continue
        else if test -z "$found"
            set found $word
        else if test "$found" = @BY_KIND@ -a $count = 0; and contains -- $word @COMMANDS@
            set found $word
        else
            set count (math $count + 1)
        end
    end
    test "$found" = "$command"; and begin
        test -z "$place"; or test "$place" = $count
    end
end

# Several words, separated by commas.
function __@FUNCTION@_list
    set -l before (string replace -r '^--[^=]*=' '' -- (commandline -ct) | string replace -r '[^,]*$' '')
    for word in $argv
        string match -q -- "*,$word,*" ",$before"; or echo "$before$word"
    end
end

complete -c @NAME@ -f
complete -c @NAME@ -n __@FUNCTION@_at -l help -s h -d 'Show the help page'
complete -c @NAME@ -n __@FUNCTION@_at -l version -d 'Show the version'
@RULES@
