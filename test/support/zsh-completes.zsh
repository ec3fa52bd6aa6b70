# Types a line and Tab into an interactive zsh that has a completion, and prints what becomes of it.
# zsh -f zsh-completes.zsh SCRIPT 'THE LINE'
zmodload zsh/zpty
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "PROMPT='> '; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D"
# Each mark is spelt so that the echo of its making does not hold it.
zpty -w shell "bindkey '^I' complete-word; source ${(q)1}; print REA''DY"
zpty -r shell seen $'*READY*' || exit 1
zpty -w -n shell "$2"$'\t'"; print EN''D"$'\n'
zpty -r shell line '*END*' || exit 1
print -r -- "$line"
zpty -d shell
